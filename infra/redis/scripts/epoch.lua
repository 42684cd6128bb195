-- epoch: begin a new epoch: everything cached becomes a miss.
--
-- KEYS  1 state hash
-- ARGV  1 msgpack {namespace, expected epoch or '', new epoch, floor lsn, identity, {{watermark field, offset}, …}}
-- Promise: if the stored epoch is the expected one, replaces it, sets floor, identity and the given watermarks, publishes,
--   returns {1, new epoch}; otherwise changes nothing and returns {0, stored epoch or ''}. With another identity it forgets
--   the tables' floors and all other watermarks, which belong to the old log; with the same one it keeps them.
--
-- An epoch begins in two calls. Between reading the log's position and the first call readers may be given more than is
-- written there, and an older event could then create an entry. So the first call has the floor NO_FLOOR_YET (2^52), under
-- which no event creates; the position is read after it; the second call (new epoch = expected epoch) sets it as floor.

local request = cmsgpack.unpack(ARGV[1])
local namespace, expected, epoch, floor, identity, watermarks = request[1], request[2], request[3], request[4], request[5], request[6]

local stored = redis.call('HGET', KEYS[1], 'epoch') or ''
if stored ~= expected then return {0, stored} end
if redis.call('HGET', KEYS[1], 'identity') ~= identity then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local kind = string.sub(field, 1, 2)
    if kind == 't:' or kind == 'w:' then redis.call('HDEL', KEYS[1], field) end
  end
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'floor', decimal(floor), 'identity', identity)
for _, pair in ipairs(watermarks) do redis.call('HSET', KEYS[1], pair[1], decimal(pair[2])) end
publish(namespace, epoch, {})
return {1, epoch}
