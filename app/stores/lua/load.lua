-- Everything that is held of a call, as one consistent picture; changes nothing.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
-- Returns {record, items, outbox, speech}; an empty record when there is no such call.

return {
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('XRANGE', KEYS[3], '-', '+'),
  redis.call('XRANGE', KEYS[4], '-', '+'),
}
