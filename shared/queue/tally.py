"""Sums that outlive the jobs: objects seen per label, time spent per phase."""

from collections.abc import Mapping
from typing import NamedTuple

import redis

from shared.queue import keys
from shared.queue.connection import queue_errors, text

# Counted once for each job, also when it ran twice; not if it was canceled. KEYS: job hash, counts, phases, and counts
# of the owner if any. ARGV: number of labels, then label and count for each, then phase and milliseconds for each.
_RECORD = f"""
local status = redis.call('HGET', KEYS[1], 'status')
if not status or status == 'canceled' or redis.call('HSETNX', KEYS[1], '{keys.COUNTED}', 1) == 0 then return 0 end
local labels = tonumber(ARGV[1])
for i = 2, 2 * labels + 1, 2 do
  redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1])
  if KEYS[4] then redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1]) end
end
for i = 2 * labels + 2, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', KEYS[3], ARGV[i] .. ':ms', ARGV[i + 1])
  redis.call('HINCRBY', KEYS[3], ARGV[i] .. ':n', 1)
end
return 1
"""


class PhaseTime(NamedTuple):
    """Time that all jobs together spent in a phase."""

    jobs: int
    seconds: float


class Tally:
    """Adds up what finished jobs found and how long they took."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    @queue_errors()
    def record(
        self,
        job_key: str,
        counts: Mapping[str, int],
        timings_ms: Mapping[str, float],
        owner: str | None = None,
        pipeline: "redis.client.Pipeline | None" = None,
    ) -> None:
        """Add a finished job, once however often it is called for it; at once or with a pipeline of the caller's."""
        arguments: list[str | int | float] = [len(counts)]
        for mapping in (counts, timings_ms):
            for name, value in mapping.items():
                arguments += [name, value]
        owners = [] if owner is None else [keys.counts(owner)]
        names = [job_key, keys.COUNTS, keys.PHASES, *owners]
        # the text and not its hash: a pipeline would ask first whether Redis knows the hash
        (self._redis if pipeline is None else pipeline).eval(_RECORD, len(names), *names, *arguments)

    @queue_errors()
    def counts(self, owner: str | None = None) -> dict[str, int]:
        """Objects seen so far per label, most frequent first; with an owner, in the jobs of that API key."""
        key = keys.COUNTS if owner is None else keys.counts(owner)
        found = {text(label): int(count) for label, count in self._redis.hgetall(key).items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @queue_errors()
    def phases(self) -> dict[str, PhaseTime]:
        """Phase -> how often and how long."""
        found = {text(name): float(value) for name, value in self._redis.hgetall(keys.PHASES).items()}
        names = sorted(name.removesuffix(":n") for name in found if name.endswith(":n"))
        return {name: PhaseTime(int(found[f"{name}:n"]), found.get(f"{name}:ms", 0.0) / 1000) for name in names}
