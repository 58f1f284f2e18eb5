-- Put before every script, after the names of keys.py (KEY, F, GROUP, RESUMERS, DRAINED, P, T).
-- KEYS[1] is always the trigger stream; the other keys are built from its prefix: one hash tag, so one slot.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%d', n) end  -- 13 digits, never an exponent

-- Errors come as a table (Redis 7, Valkey) or as a string (Redis 6.2, which hides the code behind the script's line).
local function text_of(err)
  if type(err) == 'table' then err = err.err or 'unknown error' end
  return (string.gsub(tostring(err), '^@?user_script:%s*%d+:%s*%-', ''))
end

-- What a server says to every write, so to the first one of a script, when it cannot take any.
local TAKES_NO_WRITES = { READONLY = true, MISCONF = true, NOREPLICAS = true }

-- Run f for one item; one bad item never aborts its batch.
local function guarded(f, ...)
  local ok, answer = pcall(f, ...)
  if ok then return answer end
  local text = text_of(answer)
  if TAKES_NO_WRITES[string.match(text, '^%u+')] then error(answer, 0) end
  return text
end

-- Run a script. Its error has the server's code in front, whatever the server; redis-py knows errors by it.
local function whole(verb)
  local ok, answer = pcall(verb)
  if ok and not (type(answer) == 'table' and answer.err) then return answer end
  local text = text_of(answer)
  if not string.find(text, '^%u+ ') then text = 'ERR ' .. text end
  return { err = text }
end

local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
  return false
end

-- A msgpack binary with a header of fixed length.
local function bin(s) return '\198' .. struct.pack('>I4', #s) .. s end

-- The caller's part of a trigger envelope, [version, resume, ...]: the first element after two bytes.
local function resume_of(env)
  if not env then return '' end
  local kind, length, start = string.byte(env, 3), 0, 0
  if kind == 196 and #env >= 4 then length, start = string.byte(env, 4), 5
  elseif kind == 197 and #env >= 5 then length, start = struct.unpack('>I2', env, 4), 6
  elseif kind == 198 and #env >= 7 then length, start = struct.unpack('>I4', env, 4), 8
  else return '' end
  return string.sub(env, start, start + length - 1)
end

-- The fields of one entry of the trigger stream, or false.
local function entry_fields(entry)
  local found = redis.call('XRANGE', T, entry, entry)
  return found[1] and found[1][2]
end

-- Whether a trigger without a record has had its final event; while its remote work is being stopped, `done` may be
-- gone already.
local function finished(id)
  return redis.call('EXISTS', P .. KEY.DONE .. id, P .. KEY.STOPPING .. id) > 0
end

local function owned_by(entry, consumer)
  return #redis.call('XPENDING', T, GROUP, entry, entry, 1, consumer) > 0
end

local function pending_for_anyone(entry)
  local row = redis.pcall('XPENDING', T, GROUP, entry, entry, 1)
  return not row.err and #row > 0  -- an error: no daemon has ever been there to make the group
end

-- Forget a trigger's entry and what else would lead back to it.
local function forget(id, entry, cancelled)
  redis.call('XACK', T, GROUP, entry)
  redis.call('XDEL', T, entry)
  redis.call('ZREM', P .. KEY.DEADLINES, id)
  if cancelled then redis.call('ZREM', P .. KEY.CANCELS, id) end
end

-- End a trigger: its final event, `done`, and only then take away what was there (a script does not roll back).
-- PERSIST changes nothing; it is a write that a full server still accepts, and a script that has once written is no
-- longer refused for memory. So the verb that frees memory works when there is none.
-- With `stop` the entry stays with its owner, who has the remote work to stop; `cancels` is where the owner finds it.
local function retire(id, entry, reply, cancelled, seq, outcome, event, by, retention_ms, stop)
  local record = P .. KEY.RECORD .. id
  redis.call('PERSIST', record)
  if reply ~= '' then
    redis.call('XADD', P .. KEY.EVENTS .. reply, '*', F.ID, id, F.SEQ, seq, F.OUTCOME, outcome, F.EVENT, event)
  end
  redis.call('SET', P .. KEY.DONE .. id, outcome .. ' ' .. seq .. ' ' .. int(now_ms()) .. ' ' .. by .. '\n' .. event,
    'PX', retention_ms)
  if stop then
    redis.call('RENAME', record, P .. KEY.STOPPING .. id)
    redis.call('ZREM', P .. KEY.DEADLINES, id)
    redis.call('ZADD', P .. KEY.CANCELS, int(now_ms()), id)
  else
    redis.call('DEL', record)
    forget(id, entry, cancelled)
  end
end

-- End a trigger that has a record, from outside its run. `prefix` is an event envelope without its last field.
-- Answer: whether its entry was kept, because its caller wants the remote work stopped when it times out.
local function retire_from_outside(id, outcome, prefix, by, retention_ms)
  local r = redis.call('HMGET', P .. KEY.RECORD .. id, F.ENTRY, F.REPLY, F.SEQ, F.CANCEL)
  local fields = entry_fields(r[1])
  local event = prefix .. bin(resume_of(fields and field(fields, F.ENV)))
  local stop = outcome == 'timed_out' and fields and field(fields, F.ON_TIMEOUT) == STOP_WORK
  retire(id, r[1], r[2] or '', r[4], int((tonumber(r[3]) or 0) + 1), outcome, event, by, retention_ms, stop)
  return stop
end
