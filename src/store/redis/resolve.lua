-- KEYS: the index, the hold, then the counter and the holds of each line. ARGV: the resolution as JSON.

local resolution = cjson.decode(ARGV[1])
local index, hold, id = KEYS[1], KEYS[2], resolution.hold

local row = redis.call('HMGET', hold, 'state', 'expires')
if not row[1] then return { 'expired' } end
if row[1] ~= 'held' then return { 'already' } end
local is_live = tonumber(row[2]) > resolution.now
local is_forced = resolution.stop == 'anyway'
if not is_live and not is_forced then return { 'expired' } end

local before, after = {}, {}
for at, line in ipairs(resolution.lines) do
  local counter, holds = KEYS[1 + 2 * at], KEYS[2 + 2 * at]
  local own = redis.call('HGET', holds, id)
  local held = is_live and own and tonumber(string.match(own, '^(%d+):')) or 0
  before[at] = read(counter, holds, resolution.now)
  local state = before[at]
  local freed = { used = state.used, held = state.held - held, warned = state.warned, over = state.over }
  local amount = resolution.stop == 'release' and 0 or line.amount
  -- What was held fits, also after the limit was lowered.
  after[at] = apply(line, freed, amount, false, is_forced or amount <= held, resolution.now)
  if not after[at] then return report('denied', at - 1, before) end
end
for at, line in ipairs(resolution.lines) do
  save(index, KEYS[1 + 2 * at], line, after[at], resolution.now)
  redis.call('HDEL', KEYS[2 + 2 * at], id)
end
redis.call('HSET', hold, 'state', 'resolved')
return report('resolved', 0, after)
