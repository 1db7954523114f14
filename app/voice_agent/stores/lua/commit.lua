-- Writes what changed of one call, all or nothing, unless a newer epoch owns it.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
--       5 to 7 items, outbox and speech that stage.lua has put beside them, if the write is too large for one script
-- ARGV  1 epoch   2 ttl in seconds   3 "1": replace all that is held
--       4 oldest outbox entry to keep (0: all)   5 oldest speech entry to keep (0: all)
--       6 revision (0: not checked)   7 name of the ownership   8 a claim of the writer's in doubt, or ""
--       9 "1": the call has ended, the fields replace its record, outbox and speech go
--       10 for how many seconds the items of a call that ended are kept (such a write brings no events and speech)
--       then five lists, each its length and its elements flattened:
--       fields (name, value)   items (id, packed)   dropped items (id)
--       events (n, head, audio)   speech (n, item id, audio)
--       then how many of 5 to 7 there are, each (only with these keys)
-- Returns "committed", or "superseded", "ended", "unknown" or "full", which change nothing (but see "full" below).
--
-- Work depends on the size of the write alone, never on what is held: every command
-- but the trims is O(1) per element, and a trim costs as much as it removes.

local epoch, claim, revision = tonumber(ARGV[1]), ARGV[7], tonumber(ARGV[6])
local whole, ends = ARGV[3] == '1', ARGV[9] == '1'
local record = redis.pcall('HMGET', KEYS[1], 'epoch', 'claim', 'revision', 'erased', 'kept')
if record.err then
  record = {} -- it is no record: unknown, and replaced by a whole write
end
local held, held_claim = tonumber(record[1] or ''), record[2] or ''
local held_revision = tonumber(record[3] or '') or 0
if record[4] then
  return 'ended' -- whatever the writer's epoch: what was erased does not come back
end
if held then
  if held > epoch then
    -- The claim in doubt counts only as the next one: a pod that had the call in between has changed it.
    if ARGV[8] == '' or held_claim ~= ARGV[8] or held ~= epoch + 1 then
      return 'superseded'
    end
    epoch, claim = held, held_claim
  elseif held == epoch and claim ~= '' and held_claim ~= '' and held_claim ~= claim then
    return 'superseded'
  end
  if revision > 0 and held_revision >= revision and held == epoch then
    return 'committed' -- it came twice, or late: what it says is held already
  end
end
if not whole and (not held or held < epoch or (revision > 0 and held_revision ~= revision - 1)) then
  return 'unknown'
end

-- Whether items, outbox and speech hold as much as the record counts: a key may have been evicted, or removed by hand.
if not whole and record[5] then
  local key = 2
  for count in string.gmatch(record[5], '%d+') do
    if key > 4 then
      break
    end
    if count ~= '0' then
      local found = redis.pcall(key == 2 and 'HLEN' or 'XLEN', KEYS[key])
      if type(found) == 'table' or found < tonumber(count) then
        return 'unknown'
      end
    end
    key = key + 1
  end
end

-- The five lists: where each begins in ARGV, and how many elements it has.
local first, count, at = {}, {}, 11
for list, width in ipairs({ 2, 2, 1, 3, 3 }) do
  count[list] = tonumber(ARGV[at])
  first[list] = at + 1
  at = at + 1 + count[list] * width
end

-- Whether a key may be written: looked at first, for a script that fails half-way has written half.
local function is_ours(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end
if not whole and (
  (count[2] + count[3] > 0 and not is_ours(KEYS[2], 'hash'))
  or ((count[4] > 0 or ARGV[4] ~= '0') and not is_ours(KEYS[3], 'stream'))
  or ((count[5] > 0 or ARGV[5] ~= '0') and not is_ours(KEYS[4], 'stream'))
) then
  return 'unknown' -- it belongs to another claim
end

-- Whether all that was staged is still there.
if KEYS[5] and (
  redis.call('HLEN', KEYS[5]) ~= tonumber(ARGV[at])
  or redis.call('XLEN', KEYS[6]) ~= tonumber(ARGV[at + 1])
  or redis.call('XLEN', KEYS[7]) ~= tonumber(ARGV[at + 2])
) then
  return 'unknown'
end

-- Lua hands a command some thousand words at most.
local CHUNK = 1000
local function set_fields()
  for i = first[1], first[1] + 2 * count[1] - 1, CHUNK do
    redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + CHUNK, first[1] + 2 * count[1]) - 1))
  end
end

-- A server at its maxmemory refuses a command that may need memory, unless the script has written before. So the
-- first one is of that kind and changes nothing that matters: what it lets pass is written to the end.
local SMALL_BYTES = 65536
local probe = whole and redis.pcall('SET', KEYS[1], '') or redis.pcall('HSET', KEYS[1], 'epoch', epoch)
if type(probe) == 'table' and probe.err then
  if not string.find(probe.err, 'OOM', 1, true) then
    return probe
  end
  if not ends then
    return 'full'
  end
  -- An end frees memory: it is taken, but for a conversation so long that it might need more than it frees. Of that
  -- the end alone is taken, without its number, so that the items may follow.
  redis.call('UNLINK', KEYS[3], KEYS[4])
  local size = 0
  for i = first[2], first[2] + 2 * count[2] - 2, 2 do
    size = size + #ARGV[i + 1]
  end
  if size > SMALL_BYTES then
    redis.call('UNLINK', KEYS[1])
    set_fields()
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'claim', claim)
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    redis.call('EXPIRE', KEYS[2], ARGV[10])
    return 'full'
  end
end
if whole then
  redis.call('UNLINK', KEYS[2])
end
if whole or ends then
  redis.call('UNLINK', KEYS[1], KEYS[3], KEYS[4])
end

for i = 5, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[i - 3])
  end
end

-- An entry that is held already is refused by its id: a repeated write changes nothing.
local function add(key, n, ...)
  local reply = redis.pcall('XADD', key, n .. '-0', ...)
  if type(reply) == 'table' and reply.err and not string.find(tostring(reply.err), 'equal or smaller', 1, true) then
    error(reply.err)
  end
end

set_fields()
-- After the fields: none of them may change these.
local own = { 'epoch', epoch }
if claim ~= '' then
  own[3], own[4] = 'claim', claim
end
if revision > 0 then
  own[#own + 1], own[#own + 2] = 'revision', revision
end
redis.call('HSET', KEYS[1], unpack(own))
for i = first[2], first[2] + 2 * count[2] - 2, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
for i = first[3], first[3] + count[3] - 1 do
  redis.call('HDEL', KEYS[2], ARGV[i])
end
for i = first[4], first[4] + 3 * count[4] - 3, 3 do
  if ARGV[i + 2] == '' then
    add(KEYS[3], ARGV[i], 'h', ARGV[i + 1])
  else
    add(KEYS[3], ARGV[i], 'h', ARGV[i + 1], 'a', ARGV[i + 2])
  end
end
for i = first[5], first[5] + 3 * count[5] - 3, 3 do
  add(KEYS[4], ARGV[i], 'i', ARGV[i + 1], 'a', ARGV[i + 2])
end

if ARGV[4] ~= '0' then
  redis.call('XTRIM', KEYS[3], 'MINID', ARGV[4])
end
if ARGV[5] ~= '0' then
  redis.call('XTRIM', KEYS[4], 'MINID', ARGV[5])
end
for i = 1, 4 do
  redis.call('EXPIRE', KEYS[i], ARGV[2])
end
if ends then
  redis.call('EXPIRE', KEYS[2], ARGV[10]) -- 0: gone at once
end
return 'committed'
