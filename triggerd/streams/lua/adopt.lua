-- adopt: become the owner of up to n entries of a consumer whose lease is gone.
-- KEYS: triggers.  ARGV: me, dead, n.
-- Answer: {-1} my own lease is gone; {-2} that consumer lives; {0} it had nothing left and is deleted;
-- {1, trigger, ...}. An unclean death counts in `adoptions`, a drain does not.
local me, dead, n = ARGV[1], ARGV[2], ARGV[3]
local lease = redis.call('GET', P .. KEY.CONSUMER .. dead)
if redis.call('EXISTS', P .. KEY.CONSUMER .. me) == 0 then return { -1 } end
if lease and lease ~= DRAINED then return { -2 } end
local page = redis.pcall('XPENDING', T, GROUP, '-', '+', n, dead)
if page.err then return page end
if #page == 0 then
  redis.call('PERSIST', T)  -- as in retire: Redis 6.2 counts XGROUP among what a full server refuses
  redis.call('XGROUP', 'DELCONSUMER', T, GROUP, dead)  -- only here: with entries pending it would lose them
  redis.call('DEL', P .. KEY.CONSUMER .. dead)
  return { 0 }
end
local claim = { 'XCLAIM', T, GROUP, me, '0' }
for _, row in ipairs(page) do claim[#claim + 1] = row[1] end
local entries, found = {}, {}
for _, entry in ipairs(redis.call(unpack(claim))) do
  if entry and entry[2] then
    entries[#entries + 1] = entry
    found[entry[1]] = true
  end
end
for _, row in ipairs(page) do
  -- 6.2 keeps a deleted entry pending, later servers drop it themselves.
  if not found[row[1]] then redis.call('XACK', T, GROUP, row[1]) end
end
local given = give_all(entries)
local answer = { 1 }
for _, trigger in ipairs(given) do
  if not lease then
    trigger[9] = int(tonumber(trigger[9]) + 1)
    local key = trigger[11] == 1 and KEY.STOPPING or KEY.RECORD
    redis.call('HSET', P .. key .. trigger[2], F.ADOPTIONS, trigger[9])
  end
  answer[#answer + 1] = trigger
end
return answer
