-- Lists a pod among those that have beaten lately.
--
-- KEYS  1 sorted set of names by the time of their last beat
-- ARGV  1 name   2 time of this beat   3 forget those that beat at this time or earlier
--
-- Begins with what needs no memory; see beat.lua.

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
