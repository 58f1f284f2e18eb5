-- publish: the owner's events reach the result stream, the last of a trigger together with its retirement.
-- KEYS: triggers.  ARGV: consumer, retention_ms, n times (id, entry, seq, final 1|0, outcome, event).
-- Answer per event: 1 published; 0 it was already; -1 finished by another; -2 unknown id; -3 not the owner;
-- a text = Redis refused this one (keep the event and send it again).
local consumer, retention_ms = ARGV[1], ARGV[2]

local function one(i)
  local id, entry, seq, final, outcome, event = unpack(ARGV, i, i + 5)
  local record = P .. KEY.RECORD .. id
  local r = redis.call('HMGET', record, F.ENTRY, F.REPLY, F.SEQ, F.CANCEL, F.PUBLISHER)
  if not r[1] then
    local done = redis.call('GET', P .. KEY.DONE .. id)
    if not done then return -2 end
    -- The event, too: this consumer's own sweep may have ended the trigger in between, with the same outcome even.
    local done_seq, by, start = string.match(done, '^%S+ (%d+) %d+ ([^\n]*)\n()')
    if done_seq == seq and by == consumer and string.sub(done, start) == event then return 0 end
    return -1
  end
  if r[1] ~= entry or not owned_by(entry, consumer) then return -3 end
  local told = tonumber(r[3]) or 0
  if tonumber(seq) <= told then
    -- Sent twice. Or a run of mine goes on from before another owner had the trigger, which has published meanwhile.
    return final == '0' and tonumber(seq) == told and r[5] == consumer and 0 or -3
  end
  if final == '1' then
    retire(id, entry, r[2] or '', r[4], seq, outcome, event, consumer, retention_ms)
  else
    if r[2] and r[2] ~= '' then
      redis.call('XADD', P .. KEY.EVENTS .. r[2], '*', F.ID, id, F.SEQ, seq, F.OUTCOME, outcome, F.EVENT, event)
    end
    redis.call('HSET', record, F.SEQ, seq, F.PUBLISHER, consumer)
  end
  return 1
end

-- A missing group or a wrong type of the stream concerns every item: say it once, in Redis's own words.
local probe = redis.pcall('XPENDING', T, GROUP, '-', '+', 1, consumer)
if probe.err then return probe end
local answers = {}
for i = 3, #ARGV, 6 do answers[#answers + 1] = guarded(one, i) end
return answers
