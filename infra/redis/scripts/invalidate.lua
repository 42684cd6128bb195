-- invalidate: what a writer does after its commit, so that it and others read the write at once.
--
-- KEYS  1 state hash
-- ARGV  1 msgpack {namespace, lsn, completed, floor_ttl_ms, keys {{key, table}, …}, tags {tag, …}, tables {table, …}}
--         lsn and completed were read in one statement after the commit
-- Promise: no key holds an entry older than the moment afterwards, and events older than it may not create one; the
--   tags' generations are gone; rows of the tables are older than their floor. Everything touched is published.

local request = cmsgpack.unpack(ARGV[1])
local namespace, lsn, completed, floor_ttl_ms = request[1], request[2], request[3], request[4]
local keys, tags, tables = request[5], request[6], request[7]
local epoch = redis.call('HGET', KEYS[1], 'epoch') or ''
local now, names = now_ms(), {}

for _, pair in ipairs(keys) do
  local name, key = pair[1], namespace .. ':' .. pair[1]
  names[#names + 1] = name
  if epoch == '' then
    redis.call('DEL', key)
  else
    local header = header_of(redis.call('GET', key), epoch)
    local is_new = header and header[2] ~= 'p' and (header[4] > lsn or header[7] >= completed)
    if not is_new then
      local floor, snapshot, order = lsn, NO_SNAPSHOT, 0
      if header then floor, snapshot, order = math.max(lsn, header[4]), header[6], header[7] end
      redis.call('SET', key, placeholder(epoch, floor, snapshot, order, '', 0, now), 'PX', floor_ttl_ms)
    end
  end
end
for _, tag in ipairs(tags) do
  names[#names + 1] = tag
  redis.call('DEL', namespace .. ':tag:' .. tag)
end
for _, name in ipairs(tables) do
  local floor_lsn, floor_completed = floor_of(redis.call('HGET', KEYS[1], 't:' .. name))
  redis.call('HSET', KEYS[1], 't:' .. name,
    decimal(math.max(floor_lsn, lsn)) .. ':' .. decimal(math.max(floor_completed, completed)))
end
publish(namespace, epoch, names)
return #names
