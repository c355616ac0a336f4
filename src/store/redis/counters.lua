-- KEYS: the index, then the counter and the holds of each member. ARGV: the time, then the members.
-- The holds are only read: an expired one counts nothing.

local now, found = tonumber(ARGV[1]), {}
for at = 2, #ARGV do
  local counter, holds = KEYS[2 * at - 2], KEYS[2 * at - 1]
  local row = redis.call('HMGET', counter, 'used', 'warned', 'start', 'end')
  if row[1] then
    local held, all = 0, redis.call('HVALS', holds)
    for _, value in ipairs(all) do
      local amount, expires = string.match(value, '^(%d+):(%-?%d+)$')
      if tonumber(expires) > now then held = held + tonumber(amount) end
    end
    found[#found + 1] = { ARGV[at], row[1], row[2], row[3], row[4] or '', string.format('%.0f', held) }
  else
    -- Its period ended long ago.
    redis.call('ZREM', KEYS[1], ARGV[at])
  end
end
return found
