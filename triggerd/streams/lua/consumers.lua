-- consumers: everybody in a consumer group, and whether peers may adopt from them. Reads only.
-- KEYS: triggers.  ARGV: stream suffix ('' for the trigger stream, a result stream's name otherwise).
-- Answer: {name, pending, state, ...}; state: 'alive', 'quiet', 'drained', or 'dead' where the lease is gone.
-- Read from the group, never from memory: a name may come back.
local key, group = T, GROUP
if ARGV[1] ~= '' then key, group = P .. KEY.EVENTS .. ARGV[1], RESUMERS end
local consumers = redis.pcall('XINFO', 'CONSUMERS', key, group)
if consumers.err then return consumers end
local answer = {}
for _, consumer in ipairs(consumers) do
  local name = field(consumer, 'name')
  answer[#answer + 1] = name
  answer[#answer + 1] = field(consumer, 'pending')
  answer[#answer + 1] = name == RELEASED and DRAINED or redis.call('GET', P .. KEY.CONSUMER .. name) or LAPSED
end
return answer
