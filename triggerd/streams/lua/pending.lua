-- pending: one page of a consumer's own pending entries, for the audit.
-- KEYS: triggers.  ARGV: consumer, last entry of the page before ('' at first), count.
-- Answer: {entry, ...} in order.
local start = '-'
if ARGV[2] ~= '' then start = '(' .. ARGV[2] end
local page = redis.pcall('XPENDING', T, GROUP, start, '+', ARGV[3], ARGV[1])
if page.err then return page end
local entries = {}
for i, row in ipairs(page) do entries[i] = row[1] end
return entries
