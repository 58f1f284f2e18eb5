-- renew: keep a consumer's lease; one key, however many triggers it runs.
-- KEYS: triggers.  ARGV: consumer, lease_ms, 'alive' | 'quiet'.
-- Answer: {1 held | 0 lapsed and taken anew (audit!), 1 it is to be quiet | 0, then per cancel that is not carried out
-- yet: id, by whom, 1 its remote work is to be stopped after a time-out | 0}.
local lease = P .. KEY.CONSUMER .. ARGV[1]
local held = redis.pcall('PEXPIRE', lease, ARGV[2])
if type(held) == 'table' then return held end
if held == 0 or ARGV[3] == QUIET then redis.call('SET', lease, ARGV[3], 'PX', ARGV[2]) end
local answer = { held, redis.call('GET', lease) == QUIET and 1 or 0 }
for _, id in ipairs(redis.call('ZRANGE', P .. KEY.CANCELS, 0, 999)) do
  local by = redis.call('HGET', P .. KEY.RECORD .. id, F.CANCEL)
  answer[#answer + 1] = id
  answer[#answer + 1] = by or ''
  answer[#answer + 1] = by and 0 or redis.call('EXISTS', P .. KEY.STOPPING .. id)
end
return answer
