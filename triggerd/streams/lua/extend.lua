-- extend: move a trigger's deadline, either way.
-- KEYS: triggers.  ARGV: id, deadline_ms.
-- Answer: 1 moved; -1 finished already; -2 unknown.
local id = ARGV[1]
if redis.call('EXISTS', P .. KEY.RECORD .. id) == 0 then
  if finished(id) then return -1 end
  return -2
end
redis.call('ZADD', P .. KEY.DEADLINES, ARGV[2], id)
redis.call('PUBLISH', P .. KEY.CONTROL, 'extended ' .. id .. '\n' .. ARGV[2])
return 1
