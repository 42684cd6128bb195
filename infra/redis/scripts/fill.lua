-- fill: a reader that holds the lease stores what it read.
--
-- KEYS  1 entry  2 state hash
-- ARGV  1 table  2 lease token  3 kind ('v', or 'a' for no such row)  4 format  5 msgpack snapshot {xmax, {xip}}
--       6 completed  7 ttl_ms  8 body
-- Promise: stores and returns 1 only if the placeholder still carries the token, in the present epoch, and the snapshot
--   is not older than the table's floor nor than what a reader already returned. Otherwise changes nothing, returns 0.

local state = redis.call('HMGET', KEYS[2], 'epoch', 't:' .. ARGV[1])
local epoch, completed = state[1], tonumber(ARGV[6])
if not epoch then return 0 end
local header = header_of(redis.call('GET', KEYS[1]), epoch)
if not header or header[2] ~= 'p' or header[8] ~= ARGV[2] then return 0 end
local _, floor_completed = floor_of(state[2])
if completed < floor_completed or completed < header[7] then return 0 end
-- The LSN is 0: what a filled entry contains is said by its snapshot alone. A floor's LSN would claim too much where
-- the writer that left it had not changed this very row.
redis.call('SET', KEYS[1],
  entry_of({LAYOUT, ARGV[3], epoch, 0, 0, cmsgpack.unpack(ARGV[5]), completed, '', 0, ARGV[4], NO_ORIGIN, {}, now_ms()}, ARGV[8]),
  'PX', tonumber(ARGV[7]))
return 1
