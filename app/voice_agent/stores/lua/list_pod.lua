-- Lists a pod among those that have told of themselves lately, by this server's time.
--
-- KEYS  1 sorted set of names by the time of their last heartbeat, in ms
-- ARGV  1 name   2 for how many ms a name is kept
--
-- Begins with what needs no memory; see heartbeat.lua.

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - ARGV[2])
redis.call('ZADD', KEYS[1], now_ms, ARGV[1])
return 1
