-- expire: end up to n triggers whose deadline has passed, and those whose owner did not act on a cancel.
-- KEYS: triggers.  ARGV: by, retention_ms, n, grace_ms, event prefix of `timed_out`, event prefix of `cancelled`.
-- Answer: {id, outcome, 1 its remote work is to be stopped | 0, ...}.  Needs no owner and no lease: daemons, Resumers
-- and waiting Handles all send it.
local by, retention_ms, n = ARGV[1], ARGV[2], ARGV[3]
local now = now_ms()
local ended = {}

local function end_one(zset, id, outcome, prefix)
  if redis.call('HEXISTS', P .. KEY.RECORD .. id, F.ENTRY) == 0 then
    local entry = zset == P .. KEY.CANCELS and redis.call('HGET', P .. KEY.STOPPING .. id, F.ENTRY)
    if entry and entry_fields(entry) then
      redis.call('PERSIST', P .. KEY.STOPPING .. id)  -- as in retire: a full server must not stop the sweep
      redis.call('ZADD', zset, int(now), id)  -- its remote work is still to be stopped: renewals go on telling its owner
    elseif entry then
      redis.call('DEL', P .. KEY.STOPPING .. id)  -- its entry was deleted by hand: nobody can stop the work any more
      forget(id, entry, true)
    else
      redis.call('ZREM', zset, id)
    end
    return
  end
  local stop = retire_from_outside(id, outcome, prefix, by, retention_ms)
  redis.call('PUBLISH', P .. KEY.CONTROL, (stop and 'stop ' or 'retired ') .. id)
  ended[#ended + 1] = id
  ended[#ended + 1] = outcome
  ended[#ended + 1] = stop and 1 or 0
end

local function sweep(zset, upto, outcome, prefix)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', int(upto), 'LIMIT', 0, n)) do
    if not pcall(end_one, zset, id, outcome, prefix) then
      -- Its result stream is no stream, say. Tried again in a minute: it must not stand in the way of the others.
      redis.call('ZADD', zset, int(now + 60000), id)
    end
  end
end

sweep(P .. KEY.DEADLINES, now, 'timed_out', ARGV[5])
sweep(P .. KEY.CANCELS, now - tonumber(ARGV[4]), 'cancelled', ARGV[6])
return ended
