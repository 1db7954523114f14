-- Keeps what the router is set to, and since when by this server's time.
--
-- KEYS  1 the hash
-- ARGV  1 percent by color, as JSON
--
-- Begins with what needs no memory; see heartbeat.lua.

redis.call('PERSIST', KEYS[1])
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'weights', ARGV[1],
  'told_at_ms', string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
return 1
