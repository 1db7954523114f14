-- Writes what changed of one call, all or nothing, unless a newer epoch owns it.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
-- ARGV  1 epoch   2 ttl in seconds   3 "1": replace all that is held
--       4 oldest outbox entry to keep (0: all)   5 oldest speech entry to keep (0: all)
--       6 revision (0: not checked)   7 name of the ownership   8 a claim of the writer's in doubt, or ""
--       then five lists, each its length and its elements flattened:
--       fields (name, value)   items (id, packed)   dropped items (id)
--       events (n, head, audio)   speech (n, item id, audio)
-- Returns "committed", or "superseded" or "unknown", which change nothing.
--
-- Work depends on the size of the write alone, never on what is held: every command
-- but the trims is O(1) per element, and a trim costs as much as it removes.

local epoch, claim, revision = tonumber(ARGV[1]), ARGV[7], tonumber(ARGV[6])
local record = redis.pcall('HMGET', KEYS[1], 'epoch', 'claim', 'revision')
if record.err then
  record = {} -- it is no record: unknown, and replaced by a whole write
end
local held, held_claim = tonumber(record[1] or ''), record[2] or ''
local held_revision = tonumber(record[3] or '') or 0
if held then
  if held > epoch then
    -- The claim in doubt counts only as the next one: whoever had the call in between has changed it.
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
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
elseif not held or held < epoch or (revision > 0 and held_revision ~= revision - 1) then
  return 'unknown'
else
  for i, kind in ipairs({ 'hash', 'hash', 'stream', 'stream' }) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= kind and found ~= 'none' then
      return 'unknown' -- somebody else's: looked at first, for a script that fails half-way has written half
    end
  end
end

local at = 9
local function elements(width, visit)
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    visit(at)
    at = at + width
  end
end

-- An entry that is held already is refused by its id: a repeated write changes nothing.
local function add(key, n, ...)
  local reply = redis.pcall('XADD', key, n .. '-0', ...)
  if type(reply) == 'table' and reply.err and not string.find(tostring(reply.err), 'equal or smaller', 1, true) then
    error(reply.err)
  end
end

elements(2, function(i) redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end)
-- After the fields: none of them may change these.
redis.call('HSET', KEYS[1], 'epoch', epoch)
if claim ~= '' then
  redis.call('HSET', KEYS[1], 'claim', claim)
end
if revision > 0 then
  redis.call('HSET', KEYS[1], 'revision', revision)
end
elements(2, function(i) redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end)
elements(1, function(i) redis.call('HDEL', KEYS[2], ARGV[i]) end)
elements(3, function(i)
  if ARGV[i + 2] == '' then
    add(KEYS[3], ARGV[i], 'h', ARGV[i + 1])
  else
    add(KEYS[3], ARGV[i], 'h', ARGV[i + 1], 'a', ARGV[i + 2])
  end
end)
elements(3, function(i) add(KEYS[4], ARGV[i], 'i', ARGV[i + 1], 'a', ARGV[i + 2]) end)

if ARGV[4] ~= '0' then
  redis.call('XTRIM', KEYS[3], 'MINID', ARGV[4])
end
if ARGV[5] ~= '0' then
  redis.call('XTRIM', KEYS[4], 'MINID', ARGV[5])
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[2])
end
return 'committed'
