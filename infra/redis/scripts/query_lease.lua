-- query_lease: what a reader does on a miss of a cached query: look again, else take the lease and the tags' generations.
--
-- KEYS  1 entry  2 state hash  3… tags
-- ARGV  1 format  2 lease token  3 lease_ms  4 tag_ttl_ms  5 completed of a write that the result must contain, or 0
--       6… a random generation for each tag, used where it has none, and after them the tags' names in the same order
-- Promise: {'hit', entry, epoch}; {'lease', generation, …} in the order of the tags; {'held', remaining_ms}; {'unready'}.

local format, token, lease_ms, tag_ttl_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local write_completed = tonumber(ARGV[5])
local count = #KEYS - 2

local epoch = redis.call('HGET', KEYS[2], 'epoch')
if not epoch then return {'unready'} end
local generations = {}
for index = 1, count do generations[index] = redis.call('GET', KEYS[2 + index]) end
local stored = redis.call('GET', KEYS[1])
local header = header_of(stored, epoch)
local now = now_ms()

if header and header[2] == 'v' and header[10] == format and header[7] >= write_completed then
  local same = #header[12] == count
  for index = 1, count do
    local tag = header[12][index]
    same = same and tag[1] == ARGV[5 + count + index] and tag[2] == generations[index]
  end
  if same then return {'hit', stored, epoch} end
elseif header and header[2] == 'p' and header[9] > now then
  return {'held', header[9] - now}
end

local reply = {'lease'}
for index = 1, count do
  if not generations[index] then
    generations[index] = ARGV[5 + index]
    redis.call('SET', KEYS[2 + index], generations[index], 'PX', tag_ttl_ms)
  elseif redis.call('PTTL', KEYS[2 + index]) < tag_ttl_ms then
    redis.call('PEXPIRE', KEYS[2 + index], tag_ttl_ms)
  end
  reply[1 + index] = generations[index]
end
redis.call('SET', KEYS[1], placeholder(epoch, 0, NO_SNAPSHOT, 0, token, now + lease_ms, now), 'PX', lease_ms)
return reply
