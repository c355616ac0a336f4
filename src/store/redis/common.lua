-- What both scripts share. Numbers are written with format("%.0f"), because Lua's own text of a number has 14 digits.

local function text(number)
  return string.format('%.0f', number)
end

-- A counter: what is used, and what its live holds reserve. A hold that has expired is forgotten.
local function read(counter, holds, now)
  local row = redis.call('HMGET', counter, 'used', 'warned', 'over')
  local state = { used = tonumber(row[1]) or 0, held = 0, warned = tonumber(row[2]) or 0, over = tonumber(row[3]) }
  local all = redis.call('HGETALL', holds)
  for at = 1, #all, 2 do
    local amount, expires = string.match(all[at + 1], '^(%d+):(%-?%d+)$')
    if tonumber(expires) > now then
      state.held = state.held + tonumber(amount)
    else
      redis.call('HDEL', holds, all[at])
    end
  end
  return state
end

-- The counter after more was used or held, or nil if that does not fit.
local function apply(line, state, amount, is_hold, is_forced, now)
  local total = state.used + state.held + amount
  local over = line.limit and total > line.limit
  local late = line.grace and state.over and now >= state.over + line.grace
  if amount > 0 and not is_forced and (total > line.hard or (over and late)) then
    return nil
  end
  local after = { used = state.used, held = state.held, warned = state.warned, over = state.over }
  if is_hold then
    after.held = math.min(after.held + amount, 2 ^ 53 - 1)
  else
    after.used = math.min(after.used + amount, 2 ^ 53 - 1)
  end
  if over and not after.over then after.over = now end
  local reached = {}
  for _, level in ipairs(line.warn) do
    if level[2] <= after.used and level[1] > state.warned then
      reached[#reached + 1] = text(level[1])
      after.warned = level[1]
    end
  end
  after.reached = table.concat(reached, ',')
  return after
end

-- Adds a counter to the index of the tenant, by the time in milliseconds at which Redis deletes it. The first charge of
-- a counter also removes those that Redis has deleted, and the index ends with its last counter.
local function list(index, line, now)
  if redis.call('ZSCORE', index, line.member) then return end
  local now_ms, left = math.floor(now / 1000), redis.call('PTTL', index)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. text(now_ms))
  redis.call('ZADD', index, line.keep_ms and text(line.keep_ms) or '+inf', line.member)
  if not line.keep_ms then
    redis.call('PERSIST', index)
  elseif left == -2 or (left >= 0 and line.keep_ms > now_ms + left) then
    redis.call('PEXPIREAT', index, text(line.keep_ms))
  end
end

-- Writes a counter, and gives it its end if it has none yet.
local function save(index, counter, line, after, now)
  redis.call('HSET', counter, 'used', text(after.used), 'warned', text(after.warned), 'start', text(line.start))
  if line.stop then redis.call('HSET', counter, 'end', text(line.stop)) end
  if after.over then redis.call('HSET', counter, 'over', text(after.over)) end
  if line.keep_ms and redis.call('PTTL', counter) < 0 then
    redis.call('PEXPIREAT', counter, text(line.keep_ms))
  end
  list(index, line, now)
end

local function report(kind, line, states)
  local reply = { kind, text(line) }
  for _, state in ipairs(states) do
    reply[#reply + 1] = text(state.used)
    reply[#reply + 1] = text(state.held)
    reply[#reply + 1] = state.reached or ''
  end
  return reply
end
