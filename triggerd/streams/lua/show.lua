-- show: what is known of one trigger id. Reads only.
-- KEYS: triggers.  ARGV: id.
-- Answer: {'in_flight', entry, reply, deferred, seq, cancel, adoptions, deadline, owner, env} | {'finished', done} | {}.
local id = ARGV[1]
local r = redis.call('HMGET', P .. KEY.RECORD .. id, F.ENTRY, F.REPLY, F.DEFERRED, F.SEQ, F.CANCEL, F.ADOPTIONS)
if not r[1] then
  local done = redis.call('GET', P .. KEY.DONE .. id)
  if done then return { 'finished', done } end
  return {}
end
local owner = ''
local row = redis.pcall('XPENDING', T, GROUP, r[1], r[1], 1)
if not row.err and row[1] then owner = row[1][2] end
local fields = entry_fields(r[1])
return { 'in_flight', r[1], r[2] or '', r[3] or '0', r[4] or '0', r[5] or '', r[6] or '0',
  redis.call('ZSCORE', P .. KEY.DEADLINES, id) or '0', owner, fields and field(fields, F.ENV) or '' }
