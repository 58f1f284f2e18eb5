-- dead_consumers: the consumers of a group whose lease is gone or who said that they left.
-- KEYS: triggers.  ARGV: me, stream suffix ('' for the trigger stream, a result stream's name otherwise).
-- Answer: {name, pending, 1 drained | 0, ...}. Read from the group, never from memory: a name may come back.
local key, group = T, GROUP
if ARGV[2] ~= '' then key, group = P .. KEY.EVENTS .. ARGV[2], RESUMERS end
local consumers = redis.pcall('XINFO', 'CONSUMERS', key, group)
if consumers.err then return consumers end
local dead = {}
for _, consumer in ipairs(consumers) do
  local name = field(consumer, 'name')
  local lease = redis.call('GET', P .. KEY.CONSUMER .. name)
  if name ~= ARGV[1] and (not lease or lease == DRAINED) then
    dead[#dead + 1] = name
    dead[#dead + 1] = field(consumer, 'pending')
    dead[#dead + 1] = (lease == DRAINED or name == RELEASED) and 1 or 0
  end
end
return dead
