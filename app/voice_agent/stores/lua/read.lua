-- Another page of a call. Behind pages.lua.
--
-- KEYS  1 record hash   2 items hash   3 outbox stream   4 speech stream
-- ARGV  1 epoch under which the call must still be owned; "": whichever   2 name of that claim
--       3 from where in the outbox on   4 from where in the speech on   then ids of items
-- Returns a page, or nothing when the call is another owner's by now.

if ARGV[1] ~= '' then
  local held = redis.call('HMGET', KEYS[1], 'epoch', 'claim')
  if held[1] ~= ARGV[1] or (held[2] or '') ~= ARGV[2] then
    return false
  end
end
local ids = {}
for at = 5, #ARGV do
  ids[#ids + 1] = ARGV[at]
end
return read_page(ids, ARGV[3], ARGV[4])
