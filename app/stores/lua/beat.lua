-- A pod's heartbeat.
--
-- KEYS  1 the pod's hash
-- ARGV  1 ttl in seconds   then its fields (name, value)
--
-- Begins with what needs no memory: a server at its maxmemory takes the rest, and the fleet stays in sight.

redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
