-- cancel: ask for the end of a trigger. Not claimed yet: it ends here. Running: its owner is told.
-- KEYS: triggers.  ARGV: id, by, retention_ms, event prefix of `cancelled`.
-- Answer: 1 cancelled now; 2 the owner has been asked; -1 finished already; -2 unknown.
local id, by = ARGV[1], ARGV[2]
local record = P .. KEY.RECORD .. id
local entry = redis.call('HGET', record, F.ENTRY)
if not entry then
  if finished(id) then return -1 end
  return -2
end
if not pending_for_anyone(entry) then
  retire_from_outside(id, 'cancelled', ARGV[4], by, ARGV[3])
  return 1
end
redis.call('PERSIST', record)
if redis.call('HSETNX', record, F.CANCEL, by) == 1 then
  redis.call('ZADD', P .. KEY.CANCELS, int(now_ms()), id)
end
redis.call('PUBLISH', P .. KEY.CONTROL, 'cancel ' .. id .. '\n' .. by)
return 2
