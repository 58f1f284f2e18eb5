-- enqueue: n triggers are in flight, each once however often it is sent.
-- KEYS: triggers.  ARGV: n times (id, reply, timeout_ms, env, on_timeout).
-- Answer: per trigger 'new', 'in_flight', 'finished', or an error text.
local now = now_ms()

local function one(i)
  local id, reply, timeout_ms, env, on_timeout = unpack(ARGV, i, i + 4)
  local record = P .. KEY.RECORD .. id
  if redis.call('HEXISTS', record, F.ENTRY) == 1 then return 'in_flight' end
  if finished(id) then return 'finished' end
  local deadline = int(now + tonumber(timeout_ms))
  local add = { 'XADD', T, '*', F.ID, id, F.REPLY, reply, F.DEADLINE, deadline, F.ENV, env }
  if on_timeout ~= '' then add[#add + 1] = F.ON_TIMEOUT add[#add + 1] = on_timeout end
  local entry = redis.call(unpack(add))
  redis.call('HSET', record, F.ENTRY, entry, F.REPLY, reply, F.DEFERRED, int(now))
  redis.call('ZADD', P .. KEY.DEADLINES, deadline, id)
  return 'new'
end

local answers = {}
for i = 1, #ARGV, 5 do answers[#answers + 1] = guarded(one, i) end
return answers
