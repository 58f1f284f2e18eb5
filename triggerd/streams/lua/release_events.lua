-- release_events: a resumer gives events back that it could not handle. They belong to a name without a lease, so
-- every resumer of the stream, this one too, adopts them on its clock; the count of deliveries goes on, but for the
-- last one where that is not to count.
-- KEYS: triggers.  ARGV: reply_to, me, deliveries that are not to count (1 or 0), n times entry.
local stream = P .. KEY.EVENTS .. ARGV[1]
for i = 4, #ARGV do
  local row = redis.call('XPENDING', stream, RESUMERS, ARGV[i], ARGV[i], 1, ARGV[2])[1]
  if row then
    local count = math.max(1, row[4] - ARGV[3])
    redis.call('XCLAIM', stream, RESUMERS, RELEASED, '0', ARGV[i], 'RETRYCOUNT', count, 'JUSTID')
  end
end
return #ARGV - 3
