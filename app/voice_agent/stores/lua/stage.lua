-- Puts a part of a large whole write beside the call it is for, under keys that no other script reads: commit.lua puts them in
-- place all at once. What is never put in place expires.
--
-- KEYS  1 items hash   2 outbox stream   3 speech stream, all under names of their own
-- ARGV  1 seconds until they expire   then three lists, each its length and its elements flattened:
--       items (id, packed)   events (n, head, audio)   speech (n, item id, audio)
-- Returns "staged", or "full", when nothing of the part was written.

-- Only the first command of a script is refused for want of memory; this one changes nothing that matters.
local probe = redis.pcall('HSET', KEYS[1], ' ', '')
if type(probe) == 'table' and probe.err then
  return string.find(probe.err, 'OOM', 1, true) and 'full' or probe
end
redis.call('HDEL', KEYS[1], ' ') -- which no item is called

local at = 2
local function each(width, put)
  local last = at + tonumber(ARGV[at]) * width
  for first = at + 1, last, width do
    put(first)
  end
  at = last + 1
end
each(2, function(i)
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end)
each(3, function(i)
  if ARGV[i + 2] == '' then
    redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'h', ARGV[i + 1])
  else
    redis.call('XADD', KEYS[2], ARGV[i] .. '-0', 'h', ARGV[i + 1], 'a', ARGV[i + 2])
  end
end)
each(3, function(i)
  redis.call('XADD', KEYS[3], ARGV[i] .. '-0', 'i', ARGV[i + 1], 'a', ARGV[i + 2])
end)
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[1])
end
return 'staged'
