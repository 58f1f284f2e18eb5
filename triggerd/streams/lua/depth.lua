-- depth: how much a queue holds. Reads only.
-- KEYS: triggers.
-- Answer: {entries, pending, dead letters}. Waiting to be claimed = entries - pending (XINFO's lag is nil after an XDEL).
local length = redis.pcall('XLEN', T)
if type(length) == 'table' then return length end
local pending = redis.pcall('XPENDING', T, GROUP)
return { length, pending.err and 0 or pending[1], redis.call('XLEN', P .. KEY.DEAD) }
