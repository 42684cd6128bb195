-- lease: what a reader does on a miss of a row: look again, and take the lease if there is still nothing to return.
--
-- KEYS  1 entry  2 state hash
-- ARGV  1 table  2 format  3 lease token (random, of the client)  4 lease_ms
--       5 lsn and 6 completed of a write that the value must contain, or 0 and 0
-- Promise: {'hit', entry, epoch} where a value may be returned; {'lease'} where the caller now holds the lease and may
--   fill; {'held', remaining_ms} where another one does; {'unready'} where there is no epoch, so nothing can be cached.
--   Floor and snapshot of what lay there, be it a placeholder or a value, stay on the placeholder beneath the lease.

local table_name, format, token, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local write_lsn, write_completed = tonumber(ARGV[5]), tonumber(ARGV[6])

local state = redis.call('HMGET', KEYS[2], 'epoch', 't:' .. table_name)
local epoch = state[1]
if not epoch then return {'unready'} end
local stored = redis.call('GET', KEYS[1])
local header = header_of(stored, epoch)
local now = now_ms()

if live(header, floor_of(state[2])) then
  local is_new_enough = header[4] > write_lsn or header[7] >= write_completed
  if header[10] == format and is_new_enough then return {'hit', stored, epoch} end
elseif header and header[2] == 'p' and header[8] ~= '' and header[9] > now then
  return {'held', header[9] - now}
end

local floor, snapshot, completed = 0, NO_SNAPSHOT, 0
if header then floor, snapshot, completed = header[4], header[6], header[7] end
local ttl_ms = math.max(redis.call('PTTL', KEYS[1]), lease_ms)
redis.call('SET', KEYS[1], placeholder(epoch, floor, snapshot, completed, token, now + lease_ms, now), 'PX', ttl_ms)
return {'lease'}
