-- adopt_events: a resumer takes up to n events from a resumer whose lease is gone, or its own unread ones (audit).
-- KEYS: triggers.  ARGV: reply_to, me, owner, n, after ('' at first, then the last entry of the page before), retry_ms.
-- Answer: as adopt, with the last entry looked at and then {entry, id, seq, outcome, event} per event.
local stream, me, owner, n, after = P .. KEY.EVENTS .. ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local retry_ms, LONGEST_PAUSE_MS = tonumber(ARGV[6]), 60000
local given_back = owner == RELEASED

-- What was given back rests from then on. Its count is one ahead of the hand-overs (see begin_event): where there was
-- none, nothing has failed, and it is due at once.
local function due(row)
  if not given_back or row[4] < 2 then return true end
  return row[3] >= math.min(retry_ms * 4 ^ (row[4] - 2), LONGEST_PAUSE_MS)
end

local lease = redis.call('GET', P .. KEY.CONSUMER .. owner)
if redis.call('EXISTS', P .. KEY.CONSUMER .. me) == 0 then return { -1 } end
if owner ~= me and lease and lease ~= DRAINED then return { -2 } end
local page = redis.pcall('XPENDING', stream, RESUMERS, after == '' and '-' or '(' .. after, '+',
  given_back and 100 or n, owner)
if page.err then return page end
if #page == 0 then
  if owner ~= me and after == '' and not given_back then
    redis.call('PERSIST', stream)  -- as in retire: Redis 6.2 counts XGROUP among what a full server refuses
    redis.call('XGROUP', 'DELCONSUMER', stream, RESUMERS, owner)
    redis.call('DEL', P .. KEY.CONSUMER .. owner)
  end
  return { 0 }
end
local answer = { 1, '' }
local function take(row)
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
for _, row in ipairs(page) do
  if #answer == n + 2 then break end
  if due(row) then take(row) end
  answer[2] = row[1]
end
return answer
