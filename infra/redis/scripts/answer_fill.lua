-- answer_fill: store an answer under the generations of its sources, and let the least recently used go.
--
-- KEYS  1 entry  2 state hash  3 the scope's answers by last use
-- ARGV  1 msgpack {namespace, epoch, format, id, ttl_ms, most, body, {{tag, generation}, …}}
-- Promise: stores and returns {1, evicted id, …} only in the epoch that the generations were taken in, if none of them has
--   changed or gone, and no document that a tag stands for has changed without its passages having followed. Otherwise
--   returns {0, 'changed'} or {0, 'pending'} and stores nothing. At most that many answers of the scope are kept.

local request = cmsgpack.unpack(ARGV[1])
local namespace, epoch, format, id, ttl_ms = request[1], request[2], request[3], request[4], request[5]
local most, body, tags = request[6], request[7], request[8]

if redis.call('HGET', KEYS[2], 'epoch') ~= epoch then return {0, 'changed'} end
for _, tag in ipairs(tags) do
  if redis.call('GET', namespace .. ':tag:' .. tag[1]) ~= tag[2] then return {0, 'changed'} end
end
for _, tag in ipairs(tags) do
  if redis.call('EXISTS', namespace .. ':pending:' .. tag[1]) == 1 then return {0, 'pending'} end
end
local now = now_ms()
redis.call('SET', KEYS[1],
  entry_of({LAYOUT, 'v', epoch, 0, 0, NO_SNAPSHOT, 0, '', 0, format, NO_ORIGIN, tags, now}, body), 'PX', ttl_ms)
redis.call('ZADD', KEYS[3], now, id)
redis.call('PEXPIRE', KEYS[3], ttl_ms)
-- What was not used for as long as an answer lives is gone already.
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ttl_ms)
local reply = {1}
local beyond = redis.call('ZCARD', KEYS[3]) - most
if beyond > 0 then
  local evicted = redis.call('ZPOPMIN', KEYS[3], beyond)
  for index = 1, #evicted, 2 do
    redis.call('DEL', namespace .. ':answer:' .. evicted[index])
    reply[#reply + 1] = evicted[index]
  end
end
return reply
