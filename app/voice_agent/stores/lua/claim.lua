-- Hands a call to a new owner: one more on the epoch, and what is held. Behind pages.lua.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
-- ARGV  1 owner   2 color   3 now in ms   4 ttl in seconds
--       5 "1": the record must belong to the API key hash in 6   7 name of this claim
--       8 by when it must have arrived, in ms of this server's clock (0: whenever); a claim that comes
--         later, out of some buffer, would take the call from the pod that was given it meanwhile
--       9 and 10 the lowest and the highest schema that the claimant reads; "": any
--       11 "1": the claimant can read items beside this script
-- Returns {"unknown"}, {"foreign"}, {"ended"}, {"late"}, {"schema", that of the record}, which change nothing, or
--         {"claimed", epoch, owner and status before, record, ids of all items, a page, whether the items, which are
--         not among that then, are to be read beside it}

local before = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'status', 'api_key_hash', 'claim', 'schema', 'kept')
if not before[1] then
  return { 'unknown' }
end
if ARGV[5] == '1' and (before[4] or '') ~= ARGV[6] then
  return { 'foreign' }
end
if before[3] == 'ended' then
  return { 'ended' }
end
local schema = before[6] or ''
if ARGV[9] ~= '' and (not string.find(schema, '^%d+$') or tonumber(schema) < tonumber(ARGV[9])
  or tonumber(schema) > tonumber(ARGV[10])) then
  return { 'schema', string.sub(schema, 1, 20) }
end
if ARGV[8] ~= '0' then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[8]) then
    return { 'late' }
  end
end
-- Read first: if something else stands under one of these keys, it fails before anything has changed.
local beside = ARGV[11] == '1' and are_read_beside(KEYS[2], before[7])
local ids = beside and {} or redis.call('HKEYS', KEYS[2])
local page = read_page(ids, '-', '-')
-- First what needs no memory: a server at its maxmemory takes the rest of the script, and takes claims.
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[4])
end
local epoch = tonumber(before[1])
if ARGV[7] == '' or before[5] ~= ARGV[7] then -- else it is asked again by the same claimant, who missed the answer
  epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'color', ARGV[2], 'status', 'attached', 'claimed_at_ms', ARGV[3],
  'claim', ARGV[7])
return {
  'claimed', epoch, before[2] or '', before[3] or '',
  redis.call('HGETALL', KEYS[1]), ids, page, beside and 1 or 0,
}
