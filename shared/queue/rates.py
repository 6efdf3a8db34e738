"""How often one client may ask: a sliding window, of which Redis keeps two numbers for each client and rate."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from redis.client import Pipeline

from shared.errors import PublicError
from shared.queue import keys

# Count a request if all rates allow it. KEYS: a hash for each rate; it expires a period after its window's end, which
# is how old the window is known, by one clock. ARGV: amount and milliseconds of each. The requests of the window
# before count in the proportion to which it still lies in the last `milliseconds`. Whether the request was counted,
# and for each rate: how many more are allowed, milliseconds until the window ends and until one more is allowed.
_HIT: Final = """
local windows, allowed = {}, 1
for i, key in ipairs(KEYS) do
  local amount, period = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local held, left = redis.call('HMGET', key, 'count', 'before'), redis.call('PTTL', key) - period
  local count, before = tonumber(held[1]) or 0, tonumber(held[2]) or 0
  if left < -period then
    left = period
  elseif left <= 0 then
    left, count, before = left + period, 0, count
  end
  local used = math.floor(before * left / period) + count
  if used >= amount then allowed = 0 end
  windows[i] = {key, amount, period, left, count, before, used}
end
local said = {allowed}
for _, window in ipairs(windows) do
  local key, amount, period, left, count, before, used = unpack(window)
  if allowed == 1 then
    count, used = count + 1, used + 1
    redis.call('HSET', key, 'count', count, 'before', before)
    redis.call('PEXPIRE', key, left + period)
  end
  local wait = 0
  if used >= amount then
    wait = left
    if count < amount then wait = left - math.floor((amount - count) * period / before) end
  end
  table.insert(said, math.max(0, amount - used))
  table.insert(said, left)
  table.insert(said, wait)
end
return said
"""


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    amount: int
    seconds: int


class Allowance(NamedTuple):
    """What a client may still do: of the rate that is nearest to its end."""

    allowed: bool
    """whether this request is"""
    rate: Rate
    remaining: int
    """requests from now on"""
    reset: int
    """when the rate's count begins anew, in seconds since 1970"""
    retry_after: int
    """seconds until a request is allowed, at least 1"""

    def check(self) -> None:
        """Raises `PublicError("rate_limited")` if the request is one too many."""
        if not self.allowed:
            raise PublicError(
                "rate_limited",
                f"{self.rate.amount} requests in {self.rate.seconds} seconds are allowed. Try again in a while.",
                retry_after=self.retry_after,
            )


class Rates:
    """Counts the requests of clients, as a part of a pipeline, so that it costs no round trip.

    Args:
        rates: all of them hold, for each client and each kind of request.
    """

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._rates = tuple(rates)

    def hit(self, client: str, kind: str, pipeline: Pipeline) -> None:
        """Count a request unless it is one too many, with a pipeline of the caller's."""
        names = [keys.rate(client, kind, rate.amount, rate.seconds) for rate in self._rates]
        numbers = [number for rate in self._rates for number in (rate.amount, rate.seconds * 1000)]
        # the text each time: to make sure that Redis has it would be a round trip
        pipeline.eval(_HIT, len(names), *names, *numbers)

    def read(self, replies: Iterator[list[int]]) -> Allowance:
        """What the pipeline answered to `hit`, the next of its replies."""
        allowed, *said = next(replies)
        found = list(zip(self._rates, said[::3], said[1::3], said[2::3], strict=True))
        rate, remaining, left, wait = max(found, key=lambda item: (item[3], -item[1]))
        return Allowance(
            allowed=bool(allowed),
            rate=rate,
            remaining=remaining,
            reset=math.ceil(time.time() + left / 1000),
            retry_after=max(1, math.ceil(wait / 1000)),
        )
