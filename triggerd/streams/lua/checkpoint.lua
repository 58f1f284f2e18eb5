-- checkpoint: the owner keeps a small value with the record; whoever adopts the trigger gets it.
-- KEYS: triggers.  ARGV: consumer, id, entry, value.
-- Answer: 1 kept; 0 not the owner (any more).
local record = P .. KEY.RECORD .. ARGV[2]
if redis.call('HGET', record, F.ENTRY) ~= ARGV[3] or not owned_by(ARGV[3], ARGV[1]) then return 0 end
redis.call('HSET', record, F.CHECKPOINT, ARGV[4])
return 1
