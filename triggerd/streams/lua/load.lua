-- load: what the owner must know of entries that it owns and does not run (after an audit).
-- KEYS: triggers.  ARGV: consumer, n times entry.
-- Answer: {trigger, ...}; an entry that another consumer owns is left out, one whose stream entry is gone is acked.
local consumer = ARGV[1]
local mine = {}
for i = 2, #ARGV do
  if owned_by(ARGV[i], consumer) then
    local fields = entry_fields(ARGV[i])
    if fields then mine[#mine + 1] = { ARGV[i], fields } else redis.call('XACK', T, GROUP, ARGV[i]) end
  end
end
return give_all(mine)
