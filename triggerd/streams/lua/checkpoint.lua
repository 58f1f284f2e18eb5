-- checkpoint: the owner keeps small values with the records; whoever adopts the triggers gets them.
-- KEYS: triggers.  ARGV: consumer, n times (id, entry, value).
-- Answer per value: 1 kept; -1 the trigger has finished, and nothing of it is left to do; -3 not the owner (any more);
-- a text = Redis refused this one.
local function one(i)
  local id, entry, value = unpack(ARGV, i, i + 2)
  local record = P .. KEY.RECORD .. id
  local known = redis.call('HGET', record, F.ENTRY)
  if not known and redis.call('EXISTS', P .. KEY.STOPPING .. id) == 0 and finished(id) then return -1 end
  if known ~= entry or not owned_by(entry, ARGV[1]) then return -3 end
  redis.call('HSET', record, F.CHECKPOINT, value)
  return 1
end

local answers = {}
for i = 2, #ARGV, 3 do answers[#answers + 1] = guarded(one, i) end
return answers
