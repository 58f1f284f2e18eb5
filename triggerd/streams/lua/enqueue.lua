-- enqueue: n triggers are in flight, each once however often it is sent.
-- KEYS: triggers.  ARGV: n times (id, reply, timeout_ms, env, on_timeout).
-- Answer: per trigger 'new', 'in_flight', 'finished', or an error text.
local now = now_ms()
local deferred = int(now)
local RECORDS, DONE, STOPPING, DEADLINES = P .. KEY.RECORD, P .. KEY.DONE, P .. KEY.STOPPING, P .. KEY.DEADLINES

local function one(i)
  local id, reply, timeout_ms, env, on_timeout = unpack(ARGV, i, i + 4)
  local record = RECORDS .. id
  -- Nearly always there is nothing, which one question tells.
  if redis.call('EXISTS', record, DONE .. id, STOPPING .. id) > 0 then
    if redis.call('HEXISTS', record, F.ENTRY) == 1 then return 'in_flight' end
    if finished(id) then return 'finished' end
  end
  local deadline = int(now + tonumber(timeout_ms))
  local entry
  if on_timeout == '' then
    entry = redis.call('XADD', T, '*', F.ID, id, F.REPLY, reply, F.DEADLINE, deadline, F.ENV, env)
  else
    entry = redis.call('XADD', T, '*', F.ID, id, F.REPLY, reply, F.DEADLINE, deadline, F.ENV, env,
      F.ON_TIMEOUT, on_timeout)
  end
  redis.call('HSET', record, F.ENTRY, entry, F.REPLY, reply, F.DEFERRED, deferred)
  redis.call('ZADD', DEADLINES, deadline, id)
  return 'new'
end

local answers = {}
for i = 1, #ARGV, 5 do answers[#answers + 1] = guarded(one, i) end
return answers
