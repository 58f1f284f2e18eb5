-- stopped: the owner has stopped the remote work of a trigger that timed out (or could not); its entry goes.
-- KEYS: triggers.  ARGV: consumer, id, entry.
-- Answer: 1 gone; 0 not the owner (any more), or gone before.
local id, entry = ARGV[2], ARGV[3]
if redis.call('HGET', P .. KEY.STOPPING .. id, F.ENTRY) ~= entry or not owned_by(entry, ARGV[1]) then return 0 end
redis.call('DEL', P .. KEY.STOPPING .. id)
forget(id, entry, true)
return 1
