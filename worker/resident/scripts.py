"""What a worker and Redis do with a job in one step, as Lua: one round trip, and nothing in between.

`fenced` gives the keys and arguments that the comments name.
"""

# Take a job from the intermediate queue, where the dequeue left it, and begin it. KEYS: intermediate queue, job hash,
# worker hash, events. ARGV: job id, cancel field, worker, now. From here on a wish to cancel knows whom to ask.
# 1: ours; 0: somebody put it back, or it is gone; 2: it was canceled meanwhile. A claim whose answer was lost is made
# again, in the same words, and is ours then, too.
CLAIM = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  local said = redis.call('HMGET', KEYS[2], 'status', 'worker_name', 'started_at')
  return said[1] == 'started' and said[2] == ARGV[3] and said[3] == ARGV[4] and 1 or 0
end
local status = redis.call('HGET', KEYS[2], 'status')
if not status then return 0 end
if status == 'canceled' or redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 2 end
if status ~= 'queued' then return 0 end
redis.call('HSET', KEYS[2], 'status', 'started', 'worker_name', ARGV[3], 'started_at', ARGV[4],
  'last_heartbeat', ARGV[4])
redis.call('HSET', KEYS[3], 'current_job', ARGV[1], 'current_job_working_time', 0)
redis.call('XADD', KEYS[4], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[4], 3600)
return 1
"""

# Put back what a worker left between dequeue and start. KEYS: queue, intermediate queue, job hash. ARGV: job id.
PUT_BACK = """
if redis.call('LREM', KEYS[2], 1, ARGV[1]) == 0 then return 0 end
if redis.call('HGET', KEYS[3], 'status') ~= 'queued' then return 0 end
redis.call('LPUSH', KEYS[1], ARGV[1])
return 1
"""

# End a job well, if its lease was kept. KEYS: started jobs, job hash, dependents, worker hash, execution, executions
# of the job, finished jobs, events, sign of the deletion. ARGV: the execution's name among the started jobs, its id,
# job id, now, seconds worked, seconds to remember the job, until when, seconds to keep its events, until when the
# lease lasts anew.
# 1: done, and nothing of a job that was deleted is left; 0: the lease was lost; 2: other jobs wait for this one, which
# is RQ's to see to.
FINISH = """
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZADD', KEYS[1], 'XX', ARGV[9], ARGV[1])
  return 2
end
redis.call('HINCRBY', KEYS[4], 'successful_job_count', 1)
redis.call('HINCRBYFLOAT', KEYS[4], 'total_working_time', ARGV[5])
redis.call('HDEL', KEYS[4], 'current_job')
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[2])
redis.call('DEL', KEYS[5])
if redis.call('HEXISTS', KEYS[2], 'data') == 1 and redis.call('EXISTS', KEYS[9]) == 0 then
  redis.call('HSET', KEYS[2], 'status', 'finished', 'ended_at', ARGV[4], 'last_heartbeat', ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[6])
  redis.call('ZADD', KEYS[7], ARGV[7], ARGV[3])
else
  redis.call('DEL', KEYS[2])
end
redis.call('XADD', KEYS[8], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[8], ARGV[8])
return 1
"""
