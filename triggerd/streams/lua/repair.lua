-- repair: take entries that were delivered once and that nobody owns: somebody has deleted their consumer or acked
-- them by hand, or a script was cut short. One page of a walk through the stream.
-- KEYS: triggers.  ARGV: consumer, entry to go on after ('' at first), n.
-- Answer: {1, last entry of the page ('' at the end), {trigger, ...}}, or {0} where the consumer's lease is gone.
local consumer, after, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', P .. KEY.CONSUMER .. consumer) == 0 then return { 0 } end
local last = last_delivered()
if type(last) == 'table' then return last end
local page = redis.call('XRANGE', T, after == '' and '-' or '(' .. after, last, 'COUNT', n)
local orphans = {}
for _, entry in ipairs(page) do
  if not pending_for_anyone(entry[1]) then
    redis.call('XCLAIM', T, GROUP, consumer, '0', entry[1], 'FORCE', 'JUSTID')
    orphans[#orphans + 1] = entry
  end
end
return { 1, #page == n and page[#page][1] or '', give_all(orphans) }
