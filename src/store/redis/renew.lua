-- KEYS: the hold, then the holds of each line. ARGV: the hold's id, the time, the next expiry, and for how long the hold is
-- kept.

local hold, id, now = KEYS[1], ARGV[1], tonumber(ARGV[2])

local row = redis.call('HMGET', hold, 'state', 'expires')
if row[1] ~= 'held' or tonumber(row[2]) <= now then return 0 end
local amounts = {}
for at = 2, #KEYS do
  -- A charge with a later clock may have forgotten it.
  local own = redis.call('HGET', KEYS[at], id)
  if not own then return 0 end
  amounts[at] = string.match(own, '^(%d+):')
end
if tonumber(row[2]) >= tonumber(ARGV[3]) then return 1 end
for at = 2, #KEYS do
  redis.call('HSET', KEYS[at], id, amounts[at] .. ':' .. ARGV[3])
  if redis.call('PTTL', KEYS[at]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[at], ARGV[4]) end
end
redis.call('HSET', hold, 'expires', ARGV[3])
redis.call('PEXPIRE', hold, ARGV[4])
return 1
