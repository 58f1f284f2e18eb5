-- claim_events: a resumer takes up to n new events of a result stream.
-- KEYS: triggers.  ARGV: reply_to, consumer, n.
-- Answer: {1, last-delivered-id, {entry, id, seq, outcome, event}, ...}, or {0}: the lease is gone.
local stream, consumer = P .. KEY.EVENTS .. ARGV[1], ARGV[2]
if redis.call('EXISTS', P .. KEY.CONSUMER .. consumer) == 0 then return { 0 } end
local answer = redis.pcall('XREADGROUP', 'GROUP', RESUMERS, consumer, 'COUNT', ARGV[3], 'STREAMS', stream, '>')
if answer and answer.err then return answer end
local last = '0-0'
for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  if field(group, 'name') == RESUMERS then last = field(group, 'last-delivered-id') end
end
local given = { 1, last }
for _, entry in ipairs(answer and answer[1][2] or {}) do
  local f = entry[2]
  given[#given + 1] = { entry[1], field(f, F.ID), field(f, F.SEQ), field(f, F.OUTCOME), field(f, F.EVENT) }
end
return given
