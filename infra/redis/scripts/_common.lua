-- Shared by the scripts: put before each of them when it is loaded.
--
-- The header of an entry is an array (schemas/entry.py), without holes, since cmsgpack would read a null as one:
--   1 layout  2 kind  3 epoch  4 lsn  5 xid  6 snapshot {xmax, {xip}}  7 completed  8 token  9 lease_until_ms
--   10 format  11 origin  12 tags  13 written_at_ms
-- The state hash of a namespace:
--   epoch       generation of the epoch; without it nothing is cached
--   floor       LSN at its beginning: older events may not create entries
--   identity    of the log that the copies are made from
--   t:<table>   "lsn:completed", the floor of a table (TRUNCATE)
--   w:<group>/<topic>/<partition>   the next offset to apply
-- A notice is the msgpack array {epoch, {name, …}} on the channel <namespace>:notices.

local LAYOUT = 1
local NO_SNAPSHOT = {0, {}}
local NO_ORIGIN = {'', -1, -1, 0}

-- Header of an entry and its length in bytes; nil for what is absent, of another layout or of another epoch.
local function header_of(entry, epoch)
  if not entry or #entry < 3 then return nil end
  local length = struct.unpack('>H', entry)
  if #entry < 2 + length then return nil end
  local ok, header = pcall(cmsgpack.unpack, string.sub(entry, 3, 2 + length))
  if not ok or type(header) ~= 'table' or header[1] ~= LAYOUT or header[3] ~= epoch then return nil end
  return header, length
end

local function entry_of(header, body)
  local head = cmsgpack.pack(header)
  return struct.pack('>H', #head) .. head .. body
end

local function placeholder(epoch, floor, snapshot, completed, token, lease_until_ms, now_ms)
  return entry_of({LAYOUT, 'p', epoch, floor, 0, snapshot, completed, token, lease_until_ms, '', NO_ORIGIN, {}, now_ms}, '')
end

local function sees(snapshot, xid)
  if xid == 0 or xid >= snapshot[1] then return false end
  for _, running in ipairs(snapshot[2]) do
    if running == xid then return false end
  end
  return true
end

-- The floor of a table from its text in the state hash: LSN, and order of a snapshot that saw what raised it.
local function floor_of(text)
  if not text then return 0, 0 end
  local lsn, completed = string.match(text, '^(%d+):(%d+)$')
  return tonumber(lsn), tonumber(completed)
end

-- Whether a value (or "no such row") is newer than what raised the floor of its table.
local function live(header, floor_lsn, floor_completed)
  return header and header[2] ~= 'p' and (header[4] > floor_lsn or header[7] >= floor_completed)
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function publish(namespace, epoch, names)
  redis.call('PUBLISH', namespace .. ':notices', cmsgpack.pack({epoch, names}))
end

local function decimal(number)
  return string.format('%.0f', number)
end
