-- query_fill: a reader that holds the lease of a cached query stores the result, under the generations it took first.
--
-- KEYS  1 entry  2 state hash  3… tags
-- ARGV  1 lease token  2 format  3 completed of a snapshot taken before the query ran  4 ttl_ms  5 body
--       6… the generations, and after them the tags' names, both in the order of the tags
-- Promise: stores and returns 1 only if the placeholder still carries the token in the present epoch and no generation
--   has changed or gone; a missing one is never made again here. Where one has, the lease ends, so that another reader
--   need not wait for it; otherwise nothing changes. Returns 0.

local count = #KEYS - 2
local epoch = redis.call('HGET', KEYS[2], 'epoch')
if not epoch then return 0 end
local header = header_of(redis.call('GET', KEYS[1]), epoch)
if not header or header[2] ~= 'p' or header[8] ~= ARGV[1] then return 0 end
local tags = {}
for index = 1, count do
  local generation = ARGV[5 + index]
  if redis.call('GET', KEYS[2 + index]) ~= generation then
    redis.call('DEL', KEYS[1])
    return 0
  end
  tags[index] = {ARGV[5 + count + index], generation}
end
redis.call('SET', KEYS[1],
  entry_of({LAYOUT, 'v', epoch, 0, 0, NO_SNAPSHOT, tonumber(ARGV[3]), '', 0, ARGV[2], NO_ORIGIN, tags, now_ms()}, ARGV[5]),
  'PX', tonumber(ARGV[4]))
return 1
