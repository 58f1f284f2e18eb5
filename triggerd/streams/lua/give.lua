-- Put before the scripts that make a consumer the owner of trigger entries: claim, load, adopt.

local MAX_DEADLINE_MS = 10 * 24 * 3600 * 1000

-- The last entry that the group has handed out, or Redis's error.
local function last_delivered()
  local groups = redis.pcall('XINFO', 'GROUPS', T)
  if groups.err then return groups end
  for _, group in ipairs(groups) do
    if field(group, 'name') == GROUP then return field(group, 'last-delivered-id') end
  end
  return { err = 'NOGROUP no consumer group ' .. GROUP .. ' for ' .. T }
end

local function drop(entry)
  redis.call('XACK', T, GROUP, entry)
  redis.call('XDEL', T, entry)
end

local function bury_raw(entry, fields, code, why)
  local env = field(fields, F.ENV)
  redis.call('XADD', P .. KEY.DEAD, '*', F.ID, field(fields, F.ID) or '', F.ENTRY, entry,
    F.REPLY, field(fields, F.REPLY) or '', F.WHY, why, F.CODE, code, F.TIME, int(now_ms()),
    env and F.BYTES or F.FIELDS, env or cjson.encode(fields))
  drop(entry)
end

-- What the new owner must know of this entry; false where there is nothing to run.
local function give(entry, fields)
  local id, reply, env = field(fields, F.ID), field(fields, F.REPLY), field(fields, F.ENV)
  if not id or id == '' or not reply or not env or #id > MAX_ID_BYTES or #reply > 64 or string.find(reply, '[^%w_.-]') then
    bury_raw(entry, fields, 'undecodable', 'an entry needs id (1 to ' .. MAX_ID_BYTES .. ' bytes), a legal reply and env')
    return false
  end
  local record, stopping = P .. KEY.RECORD .. id, 0
  local function known()
    return redis.call('HMGET', record, F.ENTRY, F.CANCEL, F.SEQ, F.CHECKPOINT, F.ADOPTIONS, F.DEFERRED, F.QUARANTINED)
  end
  local r = known()
  local deadline = redis.call('ZSCORE', P .. KEY.DEADLINES, id)
  if not r[1] and redis.call('EXISTS', P .. KEY.STOPPING .. id) == 1 then
    record, stopping = P .. KEY.STOPPING .. id, 1
    r = known()
  end
  if not r[1] then
    if redis.call('EXISTS', P .. KEY.DONE .. id) == 1 then drop(entry) return false end
    -- A plain XADD by somebody without the SDK is a deferral too.
    local now = now_ms()
    local wanted = tonumber(field(fields, F.DEADLINE) or '')
    if not wanted or wanted ~= wanted or wanted < 0 or wanted > now + MAX_DEADLINE_MS then wanted = now + MAX_DEADLINE_MS end
    deadline = int(wanted)
    redis.call('HSET', record, F.ENTRY, entry, F.REPLY, reply, F.DEFERRED, int(now))
    redis.call('ZADD', P .. KEY.DEADLINES, deadline, id)
    r = { entry, false, false, false, false, int(now), false }
  elseif r[1] ~= entry then
    drop(entry)  -- the same id once more; the record says which entry is the trigger
    return false
  end
  -- Numbers as numbers say it, whatever somebody has put into the record by hand.
  local function number(value) return int(tonumber(value) or 0) end
  if #env > MAX_ENV_BYTES then env = string.sub(env, 1, MAX_ENV_BYTES + 1) end  -- enough to be refused as too large
  return { entry, id, env, reply, number(deadline), r[2] or false, number(r[3]), r[4] or false, number(r[5]), number(r[6]),
    stopping, number(r[7]) }
end

-- give() each of these entries; whatever goes wrong with one becomes its dead letter.
local function give_all(entries)
  local given = {}
  for _, entry in ipairs(entries) do
    local ok, answer = pcall(give, entry[1], entry[2])
    if not ok then pcall(bury_raw, entry[1], entry[2], 'claim_error', text_of(answer)) end
    if ok and answer then given[#given + 1] = answer end
  end
  return given
end
