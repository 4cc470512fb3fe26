-- Decides what one caller asks in one trip: one call and n rows, all or nothing, in order. The same rule as
-- gateway/core/admission.py and gcra.py: change both. Atomic, because a script is; on Redis' own clock, because gateways' differ.
--
-- KEYS[1]  hash: cl ca cp  calls: level, the microsecond it was at that level, parts of a unit
--                rl ra rp  rows: the same
--                qw qu     quota: number of the window, used in it
-- KEYS[2]  sorted set: lease id -> the microsecond it ends. Both keys carry one hash tag, so one cluster node has both.
--
-- ARGV[1]  the limits, words in one text:
--            1..4    calls: parts, leak, capacity, tick_us (parts 0: no limit)      5..8  rows: the same
--            9       concurrent (0: no limit)
--            10..12  quota: amount (0: no limit), window_us, "rows" or "calls"
--            13      the longest lease, in milliseconds
-- ARGV[2]  the requests, four words each: calls, rows, lease_ms (0: needs no place), lease id or "-"
--            or, to give a place back: "release", 0, 0, lease id
--          (Two texts and not a hundred arguments: packing each argument is most of what a trip costs a gateway.)
--
-- Answers one text: now_us, then for each request: 0 admitted | 1 calls | 2 rows | 3 concurrent | 4 quota, wait_us,
-- level of calls, level of rows, quota used, leases held; nothing for a release.
--
-- Every number is whole and below 2^53, so doubles are exact. Numbers are written with %.0f: tostring would round them.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stored = redis.call('HMGET', KEYS[1], 'cl', 'ca', 'cp', 'rl', 'ra', 'rp', 'qw', 'qu')

local function words(text)
  local list = {}
  for word in string.gmatch(text, '%S+') do list[#list + 1] = word end
  return list
end

local limits, asks = words(ARGV[1]), words(ARGV[2])

local function whole(number)
  return string.format('%.0f', number)
end

local went_back = false  -- the clock did: nothing leaks, and what is asked now counts on from here
local write_counts = false

-- A bucket, leaked up to now; nil where there is no limit.
local function bucket(first, field)
  local parts = tonumber(limits[first])
  if parts == 0 then return nil end
  local leak, capacity, tick = tonumber(limits[first + 1]), tonumber(limits[first + 2]), tonumber(limits[first + 3])
  local b = { parts = parts, leak = leak, capacity = capacity, tick = tick }
  local level, at, was = tonumber(stored[field] or 0), tonumber(stored[field + 1] or 0), tonumber(stored[field + 2] or 0)
  if was ~= 0 and was ~= parts then level = math.floor(level / was * parts) end  -- the policy changed: the units stay
  level = math.min(level, b.capacity)
  local ticks = math.floor(math.max(0, now - at) / b.tick)
  b.level = level - ticks * b.leak
  b.at = math.min(at + ticks * b.tick, now)
  if at > now then went_back = true end
  if b.level <= 0 then b.level, b.at = 0, now end
  return b
end

local function wait_for(b, units)
  local over = b.level + units * b.parts - b.capacity
  if over <= 0 then return 0 end
  return b.at + math.ceil(over / b.leak) * b.tick - now
end

local calls, rows = bucket(1, 1), bucket(5, 4)
local concurrent = tonumber(limits[9])
local quota, window, counts_rows = tonumber(limits[10]), tonumber(limits[11]), limits[12] == 'rows'
local longest_ms = tonumber(limits[13])

local quota_window, quota_used = 0, 0
if quota > 0 then
  quota_window = math.floor(now / window)
  local was = tonumber(stored[7] or 0)
  if was >= quota_window then quota_used = tonumber(stored[8] or 0) end
  if was > quota_window then went_back = true end
end

local leases = 0
if concurrent > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. whole(now + longest_ms * 1000), '+inf')  -- left by a clock that went back
  leases = redis.call('ZCARD', KEYS[2])
end

local leased = false
local out = { whole(now) }

for i = 1, #asks, 4 do
  local lease_id = asks[i + 3]
  if asks[i] == 'release' then
    if concurrent > 0 then leases = leases - redis.call('ZREM', KEYS[2], lease_id) end
  else
    local n_calls, n_rows, lease_ms = tonumber(asks[i]), tonumber(asks[i + 1]), tonumber(asks[i + 2])
    local quota_cost = counts_rows and n_rows or n_calls
    local needs_place = concurrent > 0 and lease_ms > 0
    local limit, wait = 0, 0
    write_counts = write_counts or went_back
    local function obstacle(which, its_wait)
      if its_wait > wait then limit, wait = which, its_wait end
    end
    if calls then obstacle(1, wait_for(calls, n_calls)) end
    if rows then obstacle(2, wait_for(rows, n_rows)) end
    if quota > 0 and quota_cost > 0 and quota_used + quota_cost > quota then
      obstacle(4, (quota_window + 1) * window - now)
    end
    if needs_place and leases >= concurrent then
      local index = leases - concurrent
      local first = redis.call('ZRANGE', KEYS[2], index, index, 'WITHSCORES')
      obstacle(3, tonumber(first[2]) - now)
    end
    if limit == 0 then
      write_counts = true
      if calls then calls.level = calls.level + n_calls * calls.parts end
      if rows then rows.level = rows.level + n_rows * rows.parts end
      quota_used = quota_used + quota_cost
      if needs_place then
        leased = true
        leases = leases + redis.call('ZADD', KEYS[2], whole(now + math.min(lease_ms, longest_ms) * 1000), lease_id)
      end
    end
    out[#out + 1] = limit
    out[#out + 1] = whole(wait)
    out[#out + 1] = whole(calls and calls.level or 0)
    out[#out + 1] = whole(rows and rows.level or 0)
    out[#out + 1] = whole(quota > 0 and quota_used or 0)
    out[#out + 1] = leases
  end
end

if write_counts and (calls or rows or quota > 0) then
  -- The hash goes when it says no more than an absent one: buckets empty, window over. A second is for clocks that slew.
  local keep_us = quota > 0 and (quota_window + 1) * window - now or 0
  local write = {}
  local function add(b, level, at, parts)
    write[#write + 1] = level
    write[#write + 1] = whole(b.level)
    write[#write + 1] = at
    write[#write + 1] = whole(b.at)
    write[#write + 1] = parts
    write[#write + 1] = whole(b.parts)
    keep_us = math.max(keep_us, math.ceil(b.level / b.leak) * b.tick)
  end
  if calls then add(calls, 'cl', 'ca', 'cp') end
  if rows then add(rows, 'rl', 'ra', 'rp') end
  if quota > 0 then
    write[#write + 1] = 'qw'
    write[#write + 1] = whole(quota_window)
    write[#write + 1] = 'qu'
    write[#write + 1] = whole(quota_used)
  end
  redis.call('HSET', KEYS[1], unpack(write))
  redis.call('PEXPIRE', KEYS[1], whole(math.ceil(keep_us / 1000) + 1000))
end
if leased then redis.call('PEXPIRE', KEYS[2], whole(longest_ms)) end

return table.concat(out, ' ')
