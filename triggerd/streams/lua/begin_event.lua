-- begin_event: an event is about to be handed to its continuation, and is counted; those before it are acked.
-- KEYS: triggers.  ARGV: reply_to, me, entry, n times an entry that has been handled.
-- Answer: how often it has been handed over, this time included; 0: it is not mine (any more).
-- The server's delivery counter says 1 after XREADGROUP, so it is one ahead of the hand-overs that are done.
local stream = P .. KEY.EVENTS .. ARGV[1]
for i = 4, #ARGV do
  redis.call('XACK', stream, RESUMERS, ARGV[i])
  redis.call('XDEL', stream, ARGV[i])
end
local row = redis.call('XPENDING', stream, RESUMERS, ARGV[3], ARGV[3], 1, ARGV[2])[1]
if not row then return 0 end
redis.call('XCLAIM', stream, RESUMERS, ARGV[2], '0', ARGV[3], 'RETRYCOUNT', row[4] + 1, 'JUSTID')
return row[4]
