-- generations: the generations of tags, before what they stand for is read.
--
-- KEYS  1 state hash  2… tags
-- ARGV  1 tag_ttl_ms  2… a random generation for each tag, used where it has none
-- Promise: {epoch, generation, …} in the order of the tags, each of which lives on for that time at least; {} where there
--   is no epoch, and nothing may be cached.

local tag_ttl_ms = tonumber(ARGV[1])
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return {} end
local reply = {epoch}
for index = 2, #KEYS do
  local generation = redis.call('GET', KEYS[index])
  if not generation then
    generation = ARGV[index]
    redis.call('SET', KEYS[index], generation, 'PX', tag_ttl_ms)
  elseif redis.call('PTTL', KEYS[index]) < tag_ttl_ms then
    redis.call('PEXPIRE', KEYS[index], tag_ttl_ms)
  end
  reply[index] = generation
end
return reply
