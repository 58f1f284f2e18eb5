-- inspect: a sample of a queue: entries that were handed out and that nobody owns, deadlines without a record, and the
-- result streams that are replied to. Reads only.
-- KEYS: triggers.  ARGV: entry to go on after ('' at first), n.
-- Answer: {last entry of the page ('' at the end), entries looked at, of these pending for nobody, deadlines looked at
-- (with the first page only), of these without a record, name of a result stream, ...}.
local after, n = ARGV[1], tonumber(ARGV[2])
local last = false
local groups = redis.pcall('XINFO', 'GROUPS', T)
for _, group in ipairs(groups.err and {} or groups) do
  if field(group, 'name') == GROUP then last = field(group, 'last-delivered-id') end
end
local page = last and redis.call('XRANGE', T, after == '' and '-' or '(' .. after, last, 'COUNT', n) or {}
local orphans, replies, named = 0, {}, {}
for _, entry in ipairs(page) do
  if not pending_for_anyone(entry[1]) then orphans = orphans + 1 end
  local reply = field(entry[2], F.REPLY)
  if reply and reply ~= '' and not named[reply] then
    named[reply] = true
    replies[#replies + 1] = reply
  end
end
local ids = after == '' and redis.call('ZRANGE', P .. KEY.DEADLINES, 0, n - 1) or {}
local litter = 0
for _, id in ipairs(ids) do
  if redis.call('EXISTS', P .. KEY.RECORD .. id) == 0 then litter = litter + 1 end
end
return { #page == n and page[#page][1] or '', #page, orphans, #ids, litter, unpack(replies) }
