-- adopt_events: a resumer takes up to n events from a resumer whose lease is gone, or its own unread ones (audit).
-- KEYS: triggers.  ARGV: reply_to, me, owner, n, after ('' at first, then the last entry of the page before).
-- Answer: as adopt, with the page's last entry and then {entry, id, seq, outcome, event} per event.
local stream, me, owner, n, after = P .. KEY.EVENTS .. ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease = redis.call('GET', P .. KEY.CONSUMER .. owner)
if redis.call('EXISTS', P .. KEY.CONSUMER .. me) == 0 then return { -1 } end
if owner ~= me and lease and lease ~= DRAINED then return { -2 } end
local page = redis.pcall('XPENDING', stream, RESUMERS, after == '' and '-' or '(' .. after, '+', n, owner)
if page.err then return page end
if #page == 0 then
  if owner ~= me and after == '' then
    redis.call('XGROUP', 'DELCONSUMER', stream, RESUMERS, owner)
    redis.call('DEL', P .. KEY.CONSUMER .. owner)
  end
  return { 0 }
end
local answer = { 1, page[#page][1] }
for _, row in ipairs(page) do
  -- JUSTID leaves the count of deliveries alone: `begin_event` counts, when the event is handed to a continuation.
  redis.call('XCLAIM', stream, RESUMERS, me, '0', row[1], 'JUSTID')
  local entry = redis.call('XRANGE', stream, row[1], row[1])[1]
  if entry then
    local f = entry[2]
    answer[#answer + 1] = { row[1], field(f, F.ID), field(f, F.SEQ), field(f, F.OUTCOME), field(f, F.EVENT) }
  else
    redis.call('XACK', stream, RESUMERS, row[1])
  end
end
return answer
