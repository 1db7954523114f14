-- A pod's heartbeat, at this server's time: pods whose clocks differ are compared by one clock.
--
-- KEYS  1 the pod's hash
-- ARGV  1 ttl in seconds   then its fields (name, value)
--
-- In place of the last one as a whole: fields that another version wrote, of a pod of this name before, are not told by this one.
-- Begins with what needs no memory: a server at its maxmemory takes the rest, and the fleet stays in sight.

redis.call('EXPIRE', KEYS[1], ARGV[1])
if redis.call('TYPE', KEYS[1]).ok == 'hash' then -- another program's key is not ours to take away
  redis.call('UNLINK', KEYS[1])
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('HSET', KEYS[1], 'heartbeat_at_ms', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
