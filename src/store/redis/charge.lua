-- KEYS: the index, the hold, the idempotency key, then the counter and the holds of each line. ARGV: the charge as JSON.

local charge = cjson.decode(ARGV[1])
local index, hold, key = KEYS[1], KEYS[2], KEYS[3]

if charge.key then
  local earlier = redis.call('GET', key)
  if earlier then
    local reply = cjson.decode(earlier)
    if reply.fingerprint ~= charge.fingerprint then return { 'conflict' } end
    reply.counts[1] = 'repeated'
    return reply.counts
  end
end

local before, after = {}, {}
for at, line in ipairs(charge.lines) do
  before[at] = read(KEYS[2 + 2 * at], KEYS[3 + 2 * at], charge.now)
end
for at, line in ipairs(charge.lines) do
  after[at] = apply(line, before[at], line.amount, charge.hold, false, charge.now)
  if not after[at] then return report('denied', at - 1, before) end
end
for at, line in ipairs(charge.lines) do
  save(index, KEYS[2 + 2 * at], line, after[at], charge.now)
  if charge.hold then
    local holds = KEYS[3 + 2 * at]
    redis.call('HSET', holds, charge.hold, text(line.amount) .. ':' .. text(charge.expires))
    -- The holds of a counter are kept as long as the longest of them can still be resolved.
    local left = redis.call('PTTL', holds)
    if left < charge.hold_ttl then redis.call('PEXPIRE', holds, text(charge.hold_ttl)) end
  end
end
if charge.hold then
  redis.call('HSET', hold, 'state', 'held', 'expires', text(charge.expires))
  redis.call('PEXPIRE', hold, text(charge.hold_ttl))
end
local reply = report('charged', 0, after)
if charge.key then
  redis.call('SET', key, cjson.encode({ fingerprint = charge.fingerprint, counts = reply }), 'PX', text(charge.key))
end
return reply
