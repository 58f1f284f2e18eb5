-- release_events: a resumer gives events back that it could not handle. They belong to a name without a lease, so
-- every resumer of the stream, this one too, adopts them on its clock; the count of deliveries goes on.
-- KEYS: triggers.  ARGV: reply_to, me, n times entry.
local stream = P .. KEY.EVENTS .. ARGV[1]
for i = 3, #ARGV do
  if #redis.call('XPENDING', stream, RESUMERS, ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    redis.call('XCLAIM', stream, RESUMERS, RELEASED, '0', ARGV[i], 'JUSTID')
  end
end
return #ARGV - 2
