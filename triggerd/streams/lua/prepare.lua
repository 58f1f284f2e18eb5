-- prepare: the stream and its consumer group are there, from the first entry on.
-- KEYS: triggers.  ARGV: stream suffix ('' for the trigger stream, a result stream's name otherwise).
-- Promise: may be sent any number of times; nothing that is there changes.
local key, group = T, GROUP
if ARGV[1] ~= '' then key, group = P .. KEY.EVENTS .. ARGV[1], RESUMERS end
local answer = redis.pcall('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
if type(answer) == 'table' and answer.err and not string.find(answer.err, 'BUSYGROUP', 1, true) then return answer end
return 1
