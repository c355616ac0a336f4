-- KEYS: the rate. ARGV: how many, how many at once at most, and the nanoseconds after which one more is free.
-- The value is a time and the debt at that time, in microseconds: the time until everything that was allowed is free
-- again (GCRA). It expires when there is no debt left.

local n, burst, interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) / 1000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local since, debt = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):([%d.]+)$')
since, debt = tonumber(since) or now, tonumber(debt) or 0
debt = math.max(0, debt - math.max(0, now - since))

local function save(left)
  local value = string.format('%.0f:%.3f', now, left)
  redis.call('SET', KEYS[1], value, 'PX', text(math.ceil(left / 1000) + 1))
end

-- Less than a nanosecond is an error of rounding.
local full, after = burst * interval, debt + n * interval
local over = after - full - 0.001
if over > 0 then
  -- After the clock of the server went back, the debt counts from now.
  if since > now then save(debt) end
  return { 'denied', text(math.ceil(over)) }
end
save(after)
return { 'allowed', text(math.max(0, math.floor((full - after) / interval + 0.000001))) }
