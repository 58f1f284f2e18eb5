-- quiet: ask a living consumer to take nothing new from now on. What it runs it goes on running.
-- KEYS: triggers.  ARGV: consumer.
-- Answer: 1 asked (it hears by the hint, at the latest with its next renewal); 0 no such consumer lives.
local lease = P .. KEY.CONSUMER .. ARGV[1]
local state = redis.call('GET', lease)
if not state or state == DRAINED then return 0 end
redis.call('SET', lease, QUIET, 'KEEPTTL')
redis.call('PUBLISH', P .. KEY.CONTROL, 'quiet ' .. ARGV[1])
return 1
