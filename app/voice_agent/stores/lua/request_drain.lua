-- Sets the drain request of a color, or removes it.
--
-- KEYS  1 the color's hash
-- ARGV  1 the request; absent: remove it
--
-- Begins with what needs no memory; see heartbeat.lua. Where something else stands, there is no request that could be removed.

if not ARGV[1] and redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return 1
end
redis.call('HDEL', KEYS[1], 'drain')
if ARGV[1] then
  redis.call('HSET', KEYS[1], 'drain', ARGV[1])
end
return 1
