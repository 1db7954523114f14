-- In front of the scripts that read a call: as much of it as one answer carries, so that however long a call is, the
-- server is kept from others for a few milliseconds at a time. The rest is asked for with read.lua.

local PAGE_BYTES, PAGE_ENTRIES = 524288, 1000
local AT_ONCE = 16 -- a page may be too long by so many: to ask for each alone is half of what a claim costs
local page_bytes, page_entries = 0, 0

-- Items that pass through a script cost the server three times as much as those of a command. That pays where there are
-- many, and is as bounded as a page where the record tells (`kept`, its fifth number) how many bytes they are.
local FEW, MANY = 50, 4000

local function are_read_beside(key, kept)
  local count = redis.call('HLEN', key)
  local size = tonumber(string.match(kept or '', '^%d+ %d+ %d+ %d+ (%d+)') or '')
  return count > FEW and count <= MANY and size ~= nil and size <= PAGE_BYTES
end

local function has_room()
  return page_bytes < PAGE_BYTES and page_entries < PAGE_ENTRIES
end

-- The packed items of the first of these ids; false for one that is not there any more.
local function read_items(key, ids)
  local values = {}
  while #values < #ids and has_room() do
    local last = math.min(#values + AT_ONCE, #ids)
    for _, value in ipairs(redis.call('HMGET', key, unpack(ids, #values + 1, last))) do
      values[#values + 1] = value
      page_entries = page_entries + 1
      page_bytes = page_bytes + (value and #value or 0)
    end
  end
  return values
end

-- Entries of a stream from an id on, and 1 if there may be more.
local function read_stream(key, from)
  local entries = {}
  while has_room() do
    local found = redis.call('XRANGE', key, from, '+', 'COUNT', AT_ONCE)
    for _, entry in ipairs(found) do
      entries[#entries + 1] = entry
      from = '(' .. entry[1]
      page_entries = page_entries + 1
      for at = 2, #entry[2], 2 do
        page_bytes = page_bytes + #entry[2][at]
      end
    end
    if #found < AT_ONCE then
      return entries, 0
    end
  end
  return entries, 1
end

-- KEYS 2 to 4 of a call. Returns values, outbox, whether there is more of it, speech, whether there is more of it.
local function read_page(ids, outbox_from, speech_from)
  local values = read_items(KEYS[2], ids)
  local outbox, more_outbox = read_stream(KEYS[3], outbox_from)
  local speech, more_speech = read_stream(KEYS[4], speech_from)
  return { values, outbox, more_outbox, speech, more_speech }
end
