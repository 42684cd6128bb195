-- apply: the effects of one batch of one partition, and its watermark, in one step.
--
-- KEYS  1 state hash
-- ARGV  1 msgpack {namespace, watermark field, expected offset, next offset, epoch, completed, floor_ttl_ms, now_ms, effects}
--         completed: order of a snapshot in which every transaction of the batch is visible
--         effects, each an array whose first element says what it is:
--           {'v'|'a', key, table, lsn, xid, may_create, ttl_ms, entry}   the row is now this value / no longer exists
--           {'x', key, table, lsn, xid}   the row changed (lsn or xid 0: nobody knows when) and its value can't be cached
--           {'t', table, lsn}             every row of the table may have changed
--           {'g', tag}                    drop the generation of a tag
--           {'p', document, lsn, {tag, …}}  the document changed: drop the tags; its passages have yet to follow
--           {'f', document, lsn, {tag, …}}  its passages have followed up to here: drop the tags again
--           {'n', name}                   only tell the processes' own memories
-- Promise: changes nothing and returns {0, stored offset or '', stored epoch or ''} unless the stored watermark and epoch
--   are the ones the batch builds on. Otherwise applies every effect, moves the watermark, publishes every name that it
--   touched, and returns {1, entries written, entries that contained the change already}.

local batch = cmsgpack.unpack(ARGV[1])
local namespace, field, expected, next_offset = batch[1], batch[2], batch[3], batch[4]
local epoch, completed, floor_ttl_ms, written_at_ms, effects = batch[5], batch[6], batch[7], batch[8], batch[9]

local state = redis.call('HMGET', KEYS[1], 'epoch', 'floor', field)
if state[1] ~= epoch or tonumber(state[3] or '-1') ~= expected then
  return {0, state[3] or '', state[1] or ''}
end
local epoch_floor = tonumber(state[2])

local floors = {}
local function table_floor(name)
  local floor = floors[name]
  if not floor then
    floor = {floor_of(redis.call('HGET', KEYS[1], 't:' .. name))}
    floors[name] = floor
  end
  return floor[1], floor[2]
end

-- An event creates nothing unless it is younger than an entry may live, for the floor that forbade it may be gone. That
-- was decided when the batch was made, and is good for as long as floors outlive entries.
local waited_ms = now_ms() - written_at_ms

local function contains(header, lsn, xid)
  return (lsn > 0 and lsn <= header[4]) or sees(header[6], xid)
end

-- The snapshot of the reader that filled an entry goes on saying what the entry contains.
local function keep_snapshot(value, header)
  if not header or header[6][1] == 0 then return value end
  local fresh, length = header_of(value, epoch)
  fresh[6], fresh[7] = header[6], header[7]
  return entry_of(fresh, string.sub(value, 3 + length))
end

local function leave_floor(key, header, lsn)
  local floor, snapshot, order = lsn, NO_SNAPSHOT, 0
  if header then
    floor, snapshot, order = math.max(lsn, header[4]), header[6], header[7]
  end
  redis.call('SET', key, placeholder(epoch, floor, snapshot, order, '', 0, written_at_ms), 'PX', floor_ttl_ms)
end

local written, contained = 0, 0

local function row_changed(key, table_name, lsn, xid, may_create, ttl_ms, value)
  local floor_lsn, floor_completed = table_floor(table_name)
  local stored = redis.call('GET', key)
  local header = header_of(stored, epoch)
  local is_live = live(header, floor_lsn, floor_completed)
  if is_live and contains(header, lsn, xid) then
    contained = contained + 1
    return
  end
  -- A placeholder, and a value that a floor of its table made stale, still say what a reader was given already.
  local creates = may_create and waited_ms <= floor_ttl_ms - ttl_ms and lsn > floor_lsn and lsn > epoch_floor
    and not (header and contains(header, lsn, xid))
  if is_live or creates then
    redis.call('SET', key, keep_snapshot(value, header), 'PX', ttl_ms)
    written = written + 1
  elseif header then
    if header[2] ~= 'p' or header[8] ~= '' then leave_floor(key, header, 0) end
  elseif stored then
    redis.call('DEL', key)
  end
end

local function row_uncacheable(key, table_name, lsn, xid)
  local header = header_of(redis.call('GET', key), epoch)
  if live(header, table_floor(table_name)) and contains(header, lsn, xid) then
    contained = contained + 1
  else
    leave_floor(key, header, lsn)
  end
end

local function table_changed(name, lsn)
  local floor_lsn, floor_completed = table_floor(name)
  floor_lsn, floor_completed = math.max(floor_lsn, lsn), math.max(floor_completed, completed)
  floors[name] = {floor_lsn, floor_completed}
  redis.call('HSET', KEYS[1], 't:' .. name, decimal(floor_lsn) .. ':' .. decimal(floor_completed))
end

local names, seen = {}, {}
local function tell(name)
  if not seen[name] then
    seen[name] = true
    names[#names + 1] = name
  end
end

local function drop(tag)
  redis.call('DEL', namespace .. ':tag:' .. tag)
  tell(tag)
end

-- What is made from a document before its passages have followed would be stored under generations that are new already.
-- So each of its tags lists the documents that have yet to follow. Followers may come first: they say how far they are.
local FOLLOWING_TTL_MS = 86400000

local function document_changed(document, lsn, tags)
  local followed = tonumber(redis.call('GET', namespace .. ':followed:' .. document) or '0')
  for _, tag in ipairs(tags) do
    drop(tag)
    local key = namespace .. ':pending:' .. tag
    if lsn > followed and lsn > tonumber(redis.call('HGET', key, document) or '0') then
      redis.call('HSET', key, document, decimal(lsn))
      redis.call('PEXPIRE', key, FOLLOWING_TTL_MS)
    end
  end
end

local function document_followed(document, lsn, tags)
  local key = namespace .. ':followed:' .. document
  if lsn > tonumber(redis.call('GET', key) or '0') then
    redis.call('SET', key, decimal(lsn), 'PX', FOLLOWING_TTL_MS)
  end
  for _, tag in ipairs(tags) do
    drop(tag)
    local pending = namespace .. ':pending:' .. tag
    if tonumber(redis.call('HGET', pending, document) or '0') <= lsn then redis.call('HDEL', pending, document) end
  end
end

for _, effect in ipairs(effects) do
  local what, name = effect[1], effect[2]
  if what == 'v' or what == 'a' then
    row_changed(namespace .. ':' .. name, effect[3], effect[4], effect[5], effect[6], effect[7], effect[8])
    tell(name)
  elseif what == 'g' then
    drop(name)
  elseif what == 'p' then
    document_changed(name, effect[3], effect[4])
  elseif what == 'f' then
    document_followed(name, effect[3], effect[4])
  elseif what == 'x' then
    row_uncacheable(namespace .. ':' .. name, effect[3], effect[4], effect[5])
    tell(name)
  elseif what == 't' then
    table_changed(name, effect[3])
  else
    tell(name)
  end
end

redis.call('HSET', KEYS[1], field, decimal(next_offset))
if #names > 0 then publish(namespace, epoch, names) end
return {1, written, contained}
