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
# registries of failed jobs in the same order.
EXPIRE = """
local status = redis.call('HGET', KEYS[2], 'status')
if status == 'started' then return 0 end
if status ~= 'queued' then redis.call('ZREM', KEYS[1], ARGV[1]) return 0 end
for lane = 4, 5 do
  if redis.call('LREM', KEYS[lane], 1, ARGV[1]) == 1 then
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
