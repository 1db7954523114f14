-- Reads some fields of a hash, unless they are longer than they could be.
--
-- KEYS  1 the hash
-- ARGV  1 most bytes that all of them may have together   then their names
-- Returns their values, false for one that is not there; or how many bytes they have, if those are too many.

local size = 0
for i = 2, #ARGV do
  size = size + redis.call('HSTRLEN', KEYS[1], ARGV[i])
end
if size > tonumber(ARGV[1]) then
  return size
end
return redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
