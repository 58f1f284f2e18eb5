-- Everything that a small queue holds, in one answer, for the model's invariants.
-- KEYS: triggers.  ARGV: prefix of the queue's keys, last event entry seen.
local T, P = KEYS[1], ARGV[1]
local function hashes(kind)
  local found = {}
  for _, key in ipairs(redis.call('KEYS', P .. kind .. '*')) do
    found[#found + 1] = { string.sub(key, #P + #kind + 1), redis.call('HGETALL', key) }
  end
  return found
end
local done = {}
for _, key in ipairs(redis.call('KEYS', P .. 'done:*')) do
  done[#done + 1] = { string.sub(key, #P + 6), redis.call('GET', key) }
end
local pending, last = redis.pcall('XPENDING', T, 'triggerd', '-', '+', 1000), '0-0'
if pending.err then pending = {} else last = redis.call('XINFO', 'GROUPS', T)[1][8] end
return {
  redis.call('XRANGE', P .. 'events:r', ARGV[2] == '' and '-' or '(' .. ARGV[2], '+'),
  redis.call('XRANGE', T, '-', '+'), pending, last, hashes('trigger:'), hashes('stopping:'), done,
  redis.call('ZRANGE', P .. 'deadlines', 0, -1), redis.call('ZRANGE', P .. 'cancels', 0, -1),
  redis.call('XLEN', P .. 'dead'),
}
