-- prepare: the stream and its consumer group are there, from the first entry on.
-- KEYS: triggers.  ARGV: stream suffix ('' for the trigger stream, a result stream's name otherwise).
-- Promise: may be sent any number of times; nothing that is there changes, and then nothing is written, so that a
-- full server does not refuse it.
local key, group = T, GROUP
if ARGV[1] ~= '' then key, group = P .. KEY.EVENTS .. ARGV[1], RESUMERS end
local groups = redis.pcall('XINFO', 'GROUPS', key)
if not groups.err then
  for _, found in ipairs(groups) do
    if field(found, 'name') == group then return 1 end
  end
end
local answer = redis.pcall('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
if type(answer) == 'table' and answer.err then return answer end
return 1
