-- prepare: the stream and its consumer group are there, from the first entry on.
-- KEYS: triggers.  ARGV: stream suffix ('' for the trigger stream, a result stream's name otherwise), consumer or ''.
-- Promise: may be sent any number of times; nothing that is there changes, and then nothing is written, so that a
-- full server does not refuse it.
local key, group = T, GROUP
if ARGV[1] ~= '' then key, group = P .. KEY.EVENTS .. ARGV[1], RESUMERS end
local function is_there()
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  for _, found in ipairs(groups.err and {} or groups) do
    if field(found, 'name') == group then return true end
  end
  return false
end
if not is_there() then
  local answer = redis.pcall('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
  if type(answer) == 'table' and answer.err then return answer end
end
-- Its first claim would do the same (on Redis 6.2 only one that brings something): it is seen from the start. A full
-- Redis 6.2 refuses that, and it does without.
if ARGV[2] ~= '' then redis.pcall('XGROUP', 'CREATECONSUMER', key, group, ARGV[2]) end
return 1
