-- Binds a call key to a call unless another call has it.
--
-- KEYS  1 the binding
-- ARGV  1 call id   2 ttl in seconds   3 a call that has ended and may be replaced, or ""
-- Returns the call id that is bound now. What is no call id (`redis_fleet_format.CALL_ID`) binds nothing.

local bound = redis.call('GET', KEYS[1])
if bound and (#bound > 64 or not string.find(bound, '^[%w_-]+$')) then
  bound = false
end
if bound and bound ~= ARGV[3] then
  if bound == ARGV[1] then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
  end
  return bound
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
