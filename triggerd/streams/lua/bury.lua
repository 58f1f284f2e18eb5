-- bury: triggers that cannot be run at all become dead letters, and their callers get the final event `failed`.
-- KEYS: triggers.  ARGV: consumer, retention_ms, n times (id, entry, seq, code, why, event).
-- Answer per trigger: as publish.
local consumer, retention_ms = ARGV[1], ARGV[2]

local function one(i)
  local id, entry, seq, code, why, event = unpack(ARGV, i, i + 5)
  local record = P .. KEY.RECORD .. id
  local r = redis.call('HMGET', record, F.ENTRY, F.REPLY, F.CANCEL, F.SEQ)
  if not r[1] then
    local done = redis.call('GET', P .. KEY.DONE .. id)
    if not done then return -2 end
    if string.match(done, '^failed %d+ %d+ ([^\n]*)\n') == consumer then return 0 end
    return -1
  end
  if r[1] ~= entry or not owned_by(entry, consumer) then return -3 end
  if tonumber(seq) <= (tonumber(r[4]) or 0) then return -3 end  -- as in publish
  local fields = entry_fields(entry)
  redis.call('PERSIST', record)
  redis.call('XADD', P .. KEY.DEAD, '*', F.ID, id, F.ENTRY, entry, F.REPLY, r[2] or '', F.WHY, why, F.CODE, code,
    F.TIME, int(now_ms()), F.BYTES, fields and field(fields, F.ENV) or '')
  retire(id, entry, r[2] or '', r[3], seq, 'failed', event, consumer, retention_ms)
  return 1
end

local answers = {}
for i = 3, #ARGV, 6 do answers[#answers + 1] = guarded(one, i) end
return answers
