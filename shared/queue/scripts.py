"""What must happen in one step, as Lua. `jobs` gives the keys and arguments that the comments name."""

# Set a field of a job and say so, but never bring a deleted job back. KEYS: job hash, events. ARGV: field, value.
SET_FIELD = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[2], 3600)
return 1
"""

# Fail a waiting job whose deadline has passed; one that a worker has is that worker's to end. ARGV: job id, now in
# seconds and in RQ's form, error, seconds to remember. KEYS: deadlines, job hash, events, both queues, both
# registries of failed jobs in the same order, both of jobs that wait for their parts.
EXPIRE = """
local status = redis.call('HGET', KEYS[2], 'status')
if status == 'started' then return 0 end
if status ~= 'queued' and status ~= 'deferred' then redis.call('ZREM', KEYS[1], ARGV[1]) return 0 end
for lane = 4, 5 do
  if redis.call('LREM', KEYS[lane], 1, ARGV[1]) == 1 or redis.call('ZREM', KEYS[lane + 4], ARGV[1]) == 1 then
    redis.call('HSET', KEYS[2], 'status', 'failed', 'ended_at', ARGV[3], 'ds_error', ARGV[4])
    redis.call('EXPIRE', KEYS[2], ARGV[5])
    redis.call('ZADD', KEYS[lane + 2], ARGV[2] + ARGV[5], ARGV[1])
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', 32, '*', 'n', 1)
    redis.call('EXPIRE', KEYS[3], 3600)
    return 1
  end
end
return 0
"""

# Wish a job canceled, in one step with reading whether it has begun: a worker claims a job in one step, too, so one
# of both sees the other (RQ issue 2160). KEYS: job hash, events. ARGV: cancel field. The status, nil if there is none.
WISH_CANCELED = """
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'queued' or status == 'started' or status == 'deferred' or status == 'scheduled' then
  redis.call('HSET', KEYS[1], ARGV[1], 1)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', 32, '*', 'n', 1)
  redis.call('EXPIRE', KEYS[2], 3600)
end
return status
"""

# What RQ writes at the end of a run brings a job back that was deleted meanwhile: as a whole, or as a heartbeat alone.
# KEYS: job hash, sign of the deletion, stream of results, registries. ARGV: job id.
BURY = """
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('DEL', KEYS[1], KEYS[3])
  for i = 4, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
elseif redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'data') == 0 then
  redis.call('DEL', KEYS[1])
end
return 1
"""

# A part of a video says how far it is. KEYS: hash of the video's job, hash of its parts. ARGV: field, value, cancel
# field, seconds to remember. 0: nobody wants it any more.
REPORT_PART = """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'started' and status ~= 'queued' and status ~= 'deferred' then return 0 end
if redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""

# Have a job that waits for its parts go on. KEYS: job hash, registry of waiting jobs, queue, bell, events. ARGV: job
# id. In front: its work is nearly done, and others' parts may have come in between.
WAKE = """
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[1], 'status') ~= 'deferred' then return 0 end
redis.call('HSET', KEYS[1], 'status', 'queued')
redis.call('LPUSH', KEYS[3], ARGV[1])
redis.call('XADD', KEYS[4], 'MAXLEN', 1, '*', 'n', 1)
redis.call('XADD', KEYS[5], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[5], 3600)
return 1
"""

_ALL_DONE = """
local function all_done(parts)
  for number = 0, tonumber(redis.call('HGET', parts, 'total') or 0) - 1 do
    if redis.call('HEXISTS', parts, 'done:' .. number) == 0 then return false end
  end
  return true
end
"""

# A started job waits for its parts from now on, without a worker: once, also if its worker says so again because it
# got no answer. In one step with looking whether they are all done and whether it was canceled: whoever does the last
# part and whoever cancels look at its status. KEYS: job hash, hash of parts, registry of waiting jobs, queue, bell,
# events, registry of canceled jobs. ARGV: job id, now in seconds and in RQ's form, cancel field, began field, when it
# was begun, seconds to remember if it was canceled.
PARK = f"""
{_ALL_DONE}
if redis.call('HGET', KEYS[1], 'status') ~= 'started' then return 0 end
redis.call('HSETNX', KEYS[1], ARGV[5], ARGV[6])
if redis.call('HEXISTS', KEYS[1], ARGV[4]) == 1 then
  redis.call('HSET', KEYS[1], 'status', 'canceled', 'ended_at', ARGV[3])
  redis.call('ZADD', KEYS[7], ARGV[2], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[7])
elseif all_done(KEYS[2]) then
  redis.call('HSET', KEYS[1], 'status', 'queued')
  redis.call('LPUSH', KEYS[4], ARGV[1])
  redis.call('XADD', KEYS[5], 'MAXLEN', 1, '*', 'n', 1)
else
  redis.call('HSET', KEYS[1], 'status', 'deferred')
  redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
end
redis.call('XADD', KEYS[6], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[6], 3600)
return 1
"""

# A part is done. KEYS: hash of parts. ARGV: field, frames. Whether it was the last one.
PART_DONE = f"""
{_ALL_DONE}
if redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return all_done(KEYS[1]) and 1 or 0
"""

# Take the parts of a video away that no worker has. KEYS: queue of parts, hash of parts. ARGV: what the ids begin
# with, and the keys of their hashes.
DROP_PARTS = """
local total = tonumber(redis.call('HGET', KEYS[2], 'total') or 0)
for number = 0, total - 1 do
  local id = ARGV[1] .. number
  if redis.call('HGET', ARGV[2] .. id, 'status') ~= 'started' then
    redis.call('LREM', KEYS[1], 1, id)
    redis.call('DEL', ARGV[2] .. id)
  end
end
redis.call('DEL', KEYS[2])
return total
"""
