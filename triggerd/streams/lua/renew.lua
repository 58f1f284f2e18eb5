-- renew: keep a consumer's lease; one key, however many triggers it runs.
-- KEYS: triggers.  ARGV: consumer, lease_ms.
-- Answer: {1 held | 0 lapsed and taken anew (audit!), id to cancel, by whom, ...}.
local lease = P .. KEY.CONSUMER .. ARGV[1]
local held = redis.pcall('PEXPIRE', lease, ARGV[2])
if type(held) == 'table' then return held end
if held == 0 then redis.call('SET', lease, 'alive', 'PX', ARGV[2]) end
local answer = { held }
for _, id in ipairs(redis.call('ZRANGE', P .. KEY.CANCELS, 0, 999)) do
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HGET', P .. KEY.RECORD .. id, F.CANCEL) or ''
end
return answer
