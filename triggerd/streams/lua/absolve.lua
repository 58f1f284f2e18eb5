-- absolve: a trigger has survived its quarantine; the unclean adoptions so far are not held against it any more.
-- KEYS: triggers.  ARGV: consumer, id, entry.
-- Answer: 1 absolved; 0 not the owner (any more). Sent twice it counts one quarantine too many, which only makes the
-- next one longer.
local id, entry = ARGV[2], ARGV[3]
local record = P .. KEY.RECORD .. id
if redis.call('EXISTS', record) == 0 then record = P .. KEY.STOPPING .. id end  -- its remote work is still to be stopped
if redis.call('HGET', record, F.ENTRY) ~= entry or not owned_by(entry, ARGV[1]) then return 0 end
redis.call('HDEL', record, F.ADOPTIONS)
redis.call('HINCRBY', record, F.QUARANTINED, 1)
return 1
