-- Replaces a value if it still says what the asker believes.
--
-- KEYS  1 the value
-- ARGV  1 "1": the old value is 2; "0": there is none   2 old value
--       3 "1": the new value is 4; "0": remove it   4 new value   5 ttl in seconds
-- Returns 1 when the value is the new one now, 0 when it is something else. A false GET is no value.
--
-- Writes nothing before a command that needs no memory; see heartbeat.lua.

local now = redis.call('GET', KEYS[1])
local old = ARGV[1] == '1' and ARGV[2]
local new = ARGV[3] == '1' and ARGV[4]
if now ~= old and now ~= new then
  return 0
end
redis.call('DEL', KEYS[1])
if new then
  redis.call('SET', KEYS[1], new, 'EX', ARGV[5])
end
return 1
