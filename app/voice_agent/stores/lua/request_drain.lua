-- Notes what an operator wishes of a color, or takes it back.
--
-- KEYS  1 the color's hash
-- ARGV  1 the wish; nothing: there is none any more
--
-- Begins with what needs no memory; see beat.lua. Where something else stands, nothing is wished that could be taken back.

if not ARGV[1] and redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return 1
end
redis.call('HDEL', KEYS[1], 'drain')
if ARGV[1] then
  redis.call('HSET', KEYS[1], 'drain', ARGV[1])
end
return 1
