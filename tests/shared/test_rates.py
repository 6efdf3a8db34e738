"""The sliding window of requests, in a real Redis."""

import redis

from shared.queue import keys
from shared.queue.rates import Allowance, Rate, Rates

TEN = Rate(4, 10)
HOUR = Rate(5, 3600)


def hit(connection: redis.Redis, rates: Rates, client: str = "anna") -> Allowance:
    pipe = connection.pipeline(transaction=False)
    rates.hit(client, "upload", pipe)
    return rates.read(iter(pipe.execute()))


def test_the_window_slides(connection: redis.Redis) -> None:
    rates = Rates([TEN])
    assert [hit(connection, rates).remaining for _ in range(4)] == [3, 2, 1, 0]
    refused = hit(connection, rates)
    assert (refused.allowed, refused.remaining) == (False, 0)
    assert 9 <= refused.retry_after <= 10
    assert hit(connection, rates, "otto").allowed, "another client"
    # its window ended half a window ago: half of its requests still count
    connection.pexpire(keys.rate("anna", "upload", *TEN), 5_000)
    assert [hit(connection, rates).allowed for _ in range(3)] == [True, True, False]
    connection.pexpire(keys.rate("anna", "upload", *TEN), 1)
    while connection.exists(keys.rate("anna", "upload", *TEN)):
        pass
    assert hit(connection, rates).remaining == 3, "long ago"


def test_each_of_several_rates_holds(connection: redis.Redis) -> None:
    rates = Rates([TEN, HOUR])
    assert [hit(connection, rates).allowed for _ in range(6)] == [True] * 4 + [False] * 2
    connection.delete(keys.rate("anna", "upload", *TEN))
    last = hit(connection, rates)
    assert (last.allowed, last.remaining, last.rate) == (True, 0, HOUR), "what was refused is not counted"
    refused = hit(connection, rates)
    assert (refused.allowed, refused.rate) == (False, HOUR)
    assert 3500 < refused.retry_after <= 3600
