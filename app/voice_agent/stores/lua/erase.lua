-- Ends a call, whichever pod owns it, and erases what was said.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
-- ARGV  1 now in ms   2 ttl in seconds   3 outcome of a call that had not ended   then the names of the fields that stay
-- Returns 1, or 0 when there is no such call.
--
-- Begins with what needs no memory, so a server at its maxmemory takes all of it.

redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return 0
end
local names = { unpack(ARGV, 4) }
local found = redis.call('HMGET', KEYS[1], unpack(names))
redis.call('UNLINK', KEYS[1])
local epoch, had_ended = 0, false
for at, name in ipairs(names) do
  if found[at] then
    redis.call('HSET', KEYS[1], name, found[at])
    if name == 'epoch' then
      epoch = tonumber(found[at]) or 0
    elseif name == 'status' then
      had_ended = found[at] == 'ended'
    end
  end
end
if not had_ended then
  redis.call('HSET', KEYS[1], 'status', 'ended', 'outcome', ARGV[3], 'ended_at_ms', ARGV[1])
end
redis.call('HSET', KEYS[1], 'epoch', epoch + 1, 'erased', 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
