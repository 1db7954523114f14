-- What is held of a call; changes nothing. Behind pages.lua.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
-- Returns {record, ids of all items, a page}; an empty record when there is no such call.

local ids = redis.call('HKEYS', KEYS[2])
return { redis.call('HGETALL', KEYS[1]), ids, read_page(ids, '-', '-') }
