-- replay: a dead letter gets another try. A trigger runs under a new id, because the old one has had its final event;
-- an event goes back to its result stream as it is.
-- KEYS: triggers.  ARGV: dead letter, its id, timeout_ms, on_timeout, envelope ('' for the one that it holds).
-- Answer: 1 replayed; 0 it was already; -1 no such dead letter; -2 it holds nothing that could be run; -3 its id is too long.
local letter, id, timeout_ms = ARGV[1], ARGV[2], ARGV[3]
local new = id .. '~' .. letter
local record = P .. KEY.RECORD .. new
local replayed = redis.call('HEXISTS', record, F.ENTRY) == 1 or redis.call('EXISTS', P .. KEY.DONE .. new) == 1
local found = redis.call('XRANGE', P .. KEY.DEAD, letter, letter)[1]
if not found then return replayed and 0 or -1 end
local fields = found[2]
local reply, event, env = field(fields, F.REPLY) or '', field(fields, F.EVENT), field(fields, F.BYTES)
local answer = 1
if event then
  redis.call('XADD', P .. KEY.EVENTS .. reply, '*', F.ID, field(fields, F.ID) or '', F.SEQ, field(fields, F.SEQ) or '',
    F.OUTCOME, field(fields, F.OUTCOME) or '', F.EVENT, event)
elseif replayed then
  answer = 0
else
  if ARGV[5] ~= '' then env = ARGV[5] end
  if not env or env == '' or id == '' or field(fields, F.ID) ~= id then return -2 end
  if #new > MAX_ID_BYTES then return -3 end
  local now = now_ms()
  local deadline = int(now + tonumber(timeout_ms))
  local add = { 'XADD', T, '*', F.ID, new, F.REPLY, reply, F.DEADLINE, deadline, F.ENV, env }
  if ARGV[4] ~= '' then add[#add + 1] = F.ON_TIMEOUT add[#add + 1] = ARGV[4] end
  redis.call('HSET', record, F.ENTRY, redis.call(unpack(add)), F.REPLY, reply, F.DEFERRED, int(now), F.REPLAY_OF, letter)
  redis.call('ZADD', P .. KEY.DEADLINES, deadline, new)
end
redis.call('XDEL', P .. KEY.DEAD, letter)
return answer
