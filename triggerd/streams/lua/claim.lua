-- claim: become the owner of up to n new entries.
-- KEYS: triggers.  ARGV: consumer, n.
-- Answer: {1, last-delivered-id, {trigger, ...}}, or {0} where the consumer's lease is gone (renew, then audit).
-- The answer may be lost: the entries are then pending for this consumer, and its audit loads them.
local consumer, n = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', P .. KEY.CONSUMER .. consumer) == 0 then return { 0 } end
local given = {}
if n > 0 then
  local answer = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', n, 'STREAMS', T, '>')
  if answer and answer.err then return answer end
  if answer then given = give_all(answer[1][2]) end
end
local last = last_delivered()
if type(last) == 'table' then return last end
return { 1, last, given }
