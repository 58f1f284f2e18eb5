-- bury_event: an event that no handler could take becomes a dead letter.
-- KEYS: triggers.  ARGV: reply_to, me, entry, code, why.
-- Answer: 1 buried; 0 not mine (any more).
local stream = P .. KEY.EVENTS .. ARGV[1]
if #redis.call('XPENDING', stream, RESUMERS, ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return 0 end
redis.call('PERSIST', stream)  -- as in retire: a full server must not keep what nobody can handle
local found = redis.call('XRANGE', stream, ARGV[3], ARGV[3])
if found[1] then
  local f = found[1][2]
  redis.call('XADD', P .. KEY.DEAD, '*', F.ID, field(f, F.ID) or '', F.ENTRY, ARGV[3], F.REPLY, ARGV[1],
    F.WHY, ARGV[5], F.CODE, ARGV[4], F.TIME, int(now_ms()), F.SEQ, field(f, F.SEQ) or '',
    F.OUTCOME, field(f, F.OUTCOME) or '', F.EVENT, field(f, F.EVENT) or '')
end
redis.call('XACK', stream, RESUMERS, ARGV[3])
redis.call('XDEL', stream, ARGV[3])
return 1
