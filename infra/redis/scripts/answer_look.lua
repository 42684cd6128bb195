-- answer_look: which of these cached answers may be given: all that they were made from is as it was.
--
-- KEYS  1 state hash  2… entries
-- ARGV  1 namespace  2 format
-- Promise: for each entry, in their order, {'live', entry}, {'stale', entry} where a source has changed since, or {'none'}.

local namespace, format = ARGV[1], ARGV[2]
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local replies = {}
for index = 2, #KEYS do
  local stored = epoch and redis.call('GET', KEYS[index])
  local header = stored and header_of(stored, epoch)
  if not header or header[2] ~= 'v' or header[10] ~= format then
    replies[index - 1] = {'none'}
  else
    local status = #header[12] > 0 and 'live' or 'stale'
    for _, tag in ipairs(header[12]) do
      if redis.call('GET', namespace .. ':tag:' .. tag[1]) ~= tag[2] then
        status = 'stale'
        break
      end
    end
    replies[index - 1] = {status, stored}
  end
end
return replies
