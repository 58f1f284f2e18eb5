-- ack: these events have been handled; they go.
-- KEYS: triggers.  ARGV: reply_to, n times entry.
local stream = P .. KEY.EVENTS .. ARGV[1]
for i = 2, #ARGV do
  redis.call('XACK', stream, RESUMERS, ARGV[i])
  redis.call('XDEL', stream, ARGV[i])
end
return #ARGV - 1
