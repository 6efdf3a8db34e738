"""How Redis is reached, and what its absence is called in public."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004
)
from redis.retry import Retry

from shared.errors import TransientError

log = logging.getLogger(__name__)

#: more than `worker_connections` of gunicorn: a client that waits for news holds a connection
MAX_CONNECTIONS = 2048
RETRIED = [BusyLoadingError, ConnectionError, TimeoutError]


def connect(url: str, *, patient: bool) -> redis.Redis:
    """A client with a connection pool; connects at the first command.

    Args:
        url: redis://, rediss:// or unix://.
        patient: a worker outlives an absent Redis and tries on for about 20 minutes; the web tier answers
            its client within seconds instead.
    """
    options: dict[str, Any] = {} if url.startswith("unix://") else {"socket_keepalive": True}
    retry = Retry(ExponentialWithJitterBackoff(base=0.1, cap=3), 400 if patient else 1)
    return redis.Redis.from_url(
        url,
        retry=retry,
        retry_on_error=RETRIED,
        health_check_interval=15,
        # each page that follows jobs holds one; the limit is only there to find a leak
        max_connections=MAX_CONNECTIONS,
        socket_connect_timeout=2,
        socket_timeout=30 if patient else 5,
        **options,
    )


def is_refused(url: str) -> bool:
    """Whether Redis is there and does not take our user or password. The log says why."""
    with connect(url, patient=False) as connection:
        try:
            connection.ping()
        except AuthenticationError as error:
            _log_refusal(error)
            return True
        except RedisError:
            return False
    return False


def _log_refusal(error: AuthenticationError) -> None:
    log.error("Redis does not take the user or the password of REDIS_URL: %s", error)


def text(value: bytes | str) -> str:
    """A reply of Redis as text (redis-py types it as either)."""
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def queue_errors() -> Iterator[None]:
    """Turn an absent Redis into `TransientError("queue_down")`. Also usable as a decorator."""
    try:
        yield
    except (ConnectionError, TimeoutError, ReadOnlyError) as error:
        if isinstance(error, AuthenticationError):
            _log_refusal(error)
        raise TransientError("queue_down", "The queue cannot be reached at the moment.", retry_after=5) from error
    except RedisError as error:
        if str(error).startswith(("OOM", "MISCONF")):  # Redis is full or cannot write to its disk
            raise TransientError("queue_down", "The queue takes no more jobs at the moment.", retry_after=30) from error
        raise
