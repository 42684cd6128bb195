-- witness: a reader went past a refused or held lease and returns what it read; the next hit must not be older.
--
-- KEYS  1 entry  2 state hash
-- ARGV  1 table  2 kind  3 format  4 msgpack snapshot {xmax, {xip}}  5 completed  6 ttl_ms  7 floor_ttl_ms  8 body
-- Promise: on a placeholder, or where there is nothing, leaves the snapshot, so that older fills and events are refused;
--   a value that the snapshot contains is replaced by the one read. Returns 1 where it left anything behind, else 0.

local state = redis.call('HMGET', KEYS[2], 'epoch', 't:' .. ARGV[1])
local epoch, snapshot, completed = state[1], cmsgpack.unpack(ARGV[4]), tonumber(ARGV[5])
if not epoch then return 0 end
local header = header_of(redis.call('GET', KEYS[1]), epoch)
local now = now_ms()

if live(header, floor_of(state[2])) then
  local is_contained = header[7] < completed and (header[5] == 0 or sees(snapshot, header[5]))
  if not is_contained then return 0 end
  redis.call('SET', KEYS[1],
    entry_of({LAYOUT, ARGV[2], epoch, header[4], header[5], snapshot, completed, '', 0, ARGV[3], header[11], {}, now}, ARGV[8]),
    'PX', tonumber(ARGV[6]))
  return 1
end
local floor, token, lease_until = 0, '', 0
if header then
  if header[7] >= completed then return 0 end
  floor, token, lease_until = header[4], header[8], header[9]
end
local ttl_ms = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[7]))
redis.call('SET', KEYS[1], placeholder(epoch, floor, snapshot, completed, token, lease_until, now), 'PX', ttl_ms)
return 1
