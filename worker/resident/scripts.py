"""What a worker and Redis do with a job in one step, as Lua: one round trip, and nothing in between.

`fenced` gives the keys and arguments that the comments name.
"""

# Take a job from the intermediate queue, where the dequeue left it, and begin it: from here on it has a lease, and a
# wish to cancel knows whom to ask. KEYS: intermediate queue, job hash, worker hash, events, execution, executions of
# the job, started jobs, turn. ARGV: job id, cancel field, worker, now in RQ's form and in seconds, id of the execution,
# which the taking was given, its name among the started jobs, seconds of the lease, field of the taking, 1 if it is a
# turn of its lane.
# 1: ours; 0: somebody put it back, or it is gone; 2: it was canceled meanwhile. A claim whose answer was lost is made
# again, in the same words, and is ours then, too.
BEGIN = """
local taken = redis.call('HGET', KEYS[2], ARGV[9])
if taken and taken ~= ARGV[6] then return 0 end
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
redis.call('PERSIST', KEYS[2])
redis.call('HSET', KEYS[3], 'state', 'busy', 'current_job', ARGV[1], 'current_job_working_time', 0)
redis.call('HSET', KEYS[5], 'id', ARGV[6], 'created_at', ARGV[5], 'last_heartbeat', ARGV[5], 'worker_name', ARGV[3])
redis.call('EXPIRE', KEYS[5], ARGV[8])
redis.call('ZADD', KEYS[6], ARGV[5] + ARGV[8] + 60, ARGV[6])
redis.call('EXPIRE', KEYS[6], ARGV[8] + 60)
redis.call('ZADD', KEYS[7], ARGV[5] + ARGV[8], ARGV[7])
if ARGV[10] == '1' then redis.call('INCR', KEYS[8]) end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[4], 3600)
return 1
"""

# Put back what a worker left between dequeue and start. Who had it may not begin it any more. KEYS: queue, intermediate
# queue, job hash, bell. ARGV: job id, field of the taking.
PUT_BACK = """
if redis.call('LREM', KEYS[2], 1, ARGV[1]) == 0 then return 0 end
if redis.call('HGET', KEYS[3], 'status') ~= 'queued' then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], '')
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[4], 'MAXLEN', 1, '*', 'n', 1)
return 1
"""

# Give a job that was begun back to its queue, if its lease was kept, at nobody's cost. KEYS: started jobs, job hash,
# queue, execution, executions of the job, worker hash, bell, events, sign of the deletion. ARGV: the execution's name
# among the started jobs, its id, job id, 1 if it is to be the next, field of the progress.
# 1: done; 0: the lease was lost, or the job was deleted.
GIVE_BACK = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('DEL', KEYS[4])
if redis.call('HGET', KEYS[6], 'current_job') == ARGV[3] then redis.call('HDEL', KEYS[6], 'current_job') end
if redis.call('HEXISTS', KEYS[2], 'data') == 0 or redis.call('EXISTS', KEYS[9]) == 1 then return 0 end
redis.call('HSET', KEYS[2], 'status', 'queued')
redis.call('HDEL', KEYS[2], ARGV[5])
redis.call(ARGV[4] == '1' and 'LPUSH' or 'RPUSH', KEYS[3], ARGV[3])
redis.call('XADD', KEYS[7], 'MAXLEN', 1, '*', 'n', 1)
redis.call('XADD', KEYS[8], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[8], 3600)
return 1
"""

# End a job well, if its lease was kept. KEYS: started jobs, job hash, dependents, worker hash, execution, executions
# of the job, finished jobs, events, sign of the deletion, canceled jobs. ARGV: the execution's name among the started
# jobs, its id, job id, now, seconds worked, seconds to remember the job, until when, seconds to keep its events, until
# when the lease lasts anew, cancel field if a wish to cancel is to be heeded, now in seconds, seconds to remember a
# canceled job. What it says is `fenced.End`.
FINISH = """
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZADD', KEYS[1], 'XX', ARGV[9], ARGV[1])
  return 2
end
redis.call('HINCRBY', KEYS[4], 'successful_job_count', 1)
redis.call('HINCRBYFLOAT', KEYS[4], 'total_working_time', ARGV[5])
if redis.call('HGET', KEYS[4], 'current_job') == ARGV[3] then redis.call('HDEL', KEYS[4], 'current_job') end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[2])
redis.call('DEL', KEYS[5])
local said = 3
if redis.call('HEXISTS', KEYS[2], 'data') == 1 and redis.call('EXISTS', KEYS[9]) == 0 then
  said = ARGV[10] ~= '' and redis.call('HEXISTS', KEYS[2], ARGV[10]) == 1 and 4 or 1
end
if said == 4 then
  redis.call('HSET', KEYS[2], 'status', 'canceled', 'ended_at', ARGV[4], 'last_heartbeat', ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[12])
  redis.call('ZADD', KEYS[10], ARGV[11], ARGV[3])
elseif said == 1 then
  redis.call('HSET', KEYS[2], 'status', 'finished', 'ended_at', ARGV[4], 'last_heartbeat', ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[6])
  redis.call('ZADD', KEYS[7], ARGV[7], ARGV[3])
else
  redis.call('DEL', KEYS[2])
end
redis.call('XADD', KEYS[8], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[8], ARGV[8])
return said
"""

# A worker has this job no more; it may have begun another by now. KEYS: worker hash. ARGV: job id.
LET_GO = """
if redis.call('HGET', KEYS[1], 'current_job') == ARGV[1] then redis.call('HDEL', KEYS[1], 'current_job') end
return 1
"""
