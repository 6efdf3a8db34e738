"""Tells others that jobs have ended: signed, tried again for a day, and never in the way of a job.

    python -m web.webhooks                # deliver until told to stop; several may run
    python -m web.webhooks --new-secret   # a WEBHOOK_SECRET
    python -m web.webhooks --health       # whether the loop on this machine lives

Headers and signature are those of the Standard Webhooks specification; docs/webhooks.md says how to check them.
"""

import base64
import hashlib
import hmac
import logging
import random
import secrets
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from apiflask import APIFlask

from shared import logs
from shared.errors import BadInputError, PublicError, TransientError
from shared.queue import Delivery, Hooks, connect
from shared.safe_http import SafeClient, checked_url
from shared.settings import HOUR, Settings, get_settings
from web.app import create_app
from web.presenting import find_job
from web.services import EXTENSION, Services

log = logging.getLogger("web.webhooks")

#: with the pauses below about a day in all
MOST_ATTEMPTS: Final = 11
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 6.0 * HOUR
#: seconds until a delivery that nobody is to blame for (storage is away) is tried again
SHORT_PAUSE: Final = 15.0
#: seconds that the loop is not heard of before it counts as dead
BEAT: Final = 60
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at a time, and how long."""

    #: attempts at once
    threads: int = 32
    #: of them, such that are not the first: receivers known to be dead do not take all
    again: int = 16
    #: of them, to one host
    per_host: int = 4
    #: seconds for one attempt
    timeout: float = 8.0
    #: seconds after which an attempt of a dead process is made by another; resolving a name may take long
    lease: float = 90.0
    #: seconds between two looks for jobs that have ended
    poll: float = 0.5
    first_pause: float = FIRST_PAUSE


class _NotEndedError(Exception):
    """A job has failed, and somebody tries it again: there will be another end to tell."""


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one for each key, so that keys can be changed."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys)


def pause_after(attempts: int, first: float = FIRST_PAUSE) -> float | None:
    """Seconds until the next attempt, None after the last: four times as long each time, and never the same."""
    if attempts >= MOST_ATTEMPTS:
        return None
    return min(LONGEST_PAUSE, first * 4.0 ** (attempts - 1)) * random.uniform(0.75, 1.25)  # noqa: S311


class Deliverer:
    """Delivers what is due.

    Args:
        app: to write a job as `GET /jobs/<id>` does.
        settings: the settings.
        client: who may be talked to.
        pace: how much at a time.
    """

    def __init__(
        self, app: APIFlask, settings: Settings, client: SafeClient | None = None, pace: Pace = Pace()
    ) -> None:
        self._app = app
        self._services: Services = app.extensions[EXTENSION]
        self._hooks: Hooks = self._services.queue.hooks
        self._settings = settings
        self._client = client or self._services.http
        self._pace = pace
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._hosts: Counter[str] = Counter()
        self._again = 0

    def stop(self) -> None:
        """Take up nothing more."""
        self._stop.set()

    def run(self) -> None:
        """Deliver until stopped; then wait for the attempts under way."""
        pause = self._pace.poll
        with ThreadPoolExecutor(self._pace.threads, "webhook") as pool:
            while not self._stop.is_set():
                try:
                    more = self.step(pool)
                    pause = self._pace.poll
                except TransientError as error:
                    log.warning("no webhooks now: %s", error)
                    more, pause = False, min(2 * pause, 10.0)
                if not more:
                    self._stop.wait(pause)

    def step(self, pool: ThreadPoolExecutor) -> bool:
        """Look once at what has ended and what is due. True if there is more than was looked at."""
        self._hooks.beat(socket.gethostname(), BEAT)
        _, dropped = self._hooks.promote()
        if dropped:
            log.warning("%d webhooks were given up: too many are due", dropped)
        due = self._hooks.due(_BATCH)
        put_off: list[tuple[str, float]] = []
        full = False
        for delivery in due:
            if self._is_full():
                full = True
                break
            host = host_of(delivery.url or self._settings.webhook_url)
            if not self._enter(host, again=delivery.attempts > 0):
                # behind the others: they are not to wait for a receiver that does not answer
                put_off.append((delivery.id, random.uniform(0.5, 1.5) + len(due) / 100))  # noqa: S311
                continue
            try:
                lease = self._hooks.lease(delivery.id, self._pace.lease)
            except BaseException:
                self._leave(host, again=delivery.attempts > 0)
                raise
            if lease is None:
                self._leave(host, again=delivery.attempts > 0)
            else:
                pool.submit(self._attempt, delivery, host, lease)
        if put_off:
            self._hooks.put_off(put_off)
        return len(due) == _BATCH and not full

    def _is_full(self) -> bool:
        with self._lock:
            return self._hosts.total() >= self._pace.threads

    def _enter(self, host: str, *, again: bool) -> bool:
        with self._lock:
            if self._hosts[host] >= self._pace.per_host or (again and self._again >= self._pace.again):
                return False
            self._hosts[host] += 1
            self._again += again
            return True

    def _leave(self, host: str, *, again: bool) -> None:
        with self._lock:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
            self._again -= again

    def _attempt(self, delivery: Delivery, host: str, lease: int) -> None:
        try:
            with logs.about(job=delivery.job_id, request=None):
                attempts, seconds = self._outcome(delivery, host)
                self._hooks.settle(delivery.id, lease, attempts=attempts, seconds=seconds)
        except TransientError as error:
            log.warning("job %s: its webhook is tried again: %s", delivery.job_id, error)
        except Exception:  # the lease runs out, and it is tried again
            log.exception("job %s: its webhook could not be tried", delivery.job_id)
        finally:
            self._leave(host, again=delivery.attempts > 0)

    def _outcome(self, delivery: Delivery, host: str) -> tuple[int, float | None]:
        """Attempts made, and seconds until the next one, None for never."""
        url = delivery.url or self._settings.webhook_url
        if not url or (delivery.url and not self._settings.allow_webhooks):
            return delivery.attempts, None  # switched off meanwhile
        try:
            body = self._body(delivery.job_id)
        except TransientError as error:
            log.warning("job %s: its webhook waits: %s", delivery.job_id, error)
            return delivery.attempts, SHORT_PAUSE * random.uniform(1, 2)  # noqa: S311
        except _NotEndedError:
            return delivery.attempts, SHORT_PAUSE * random.uniform(1, 2)  # noqa: S311
        except PublicError:
            log.info("job %s is gone, and so is its webhook", delivery.job_id)
            return delivery.attempts, None
        attempts = delivery.attempts + 1
        try:
            status = self._client.post(url, body, self._headers(delivery.id, body), self._pace.timeout)
            word = f"status {status}"
        except BadInputError as error:
            status, word = 0, str(error)
            if error.code == "url_refused":
                log.warning("job %s: no webhook to %s: %s", delivery.job_id, host, error)
                return attempts, None
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            log.info("job %s: webhook to %s taken", delivery.job_id, host)
            return attempts, None
        seconds = None if status == HTTPStatus.GONE else pause_after(attempts, self._pace.first_pause)
        then = "given up" if seconds is None else f"again in {seconds:.0f} s"
        log.warning("job %s: webhook to %s, attempt %d: %s; %s", delivery.job_id, host, attempts, word, then)
        return attempts, seconds

    def _body(self, job_id: str) -> bytes:
        with self._app.test_request_context():  # links are made as for a request, as paths
            view = find_job(self._services, job_id)
        if not view.state.is_final:
            raise _NotEndedError
        return view.model_dump_json(by_alias=True).encode()

    def _headers(self, hook_id: str, body: bytes) -> dict[str, str]:
        message_id, timestamp = f"msg_{hook_id}", int(time.time())
        return {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._settings.webhook_secrets, message_id, timestamp, body),
        }


def host_of(url: str) -> str:
    """Who is behind a URL, without what may be secret in it."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or ''}:{parts.port or parts.scheme}"
    except ValueError:
        return ""


def serve(settings: Settings, client: SafeClient | None = None, pace: Pace = Pace()) -> int:
    """Deliver until SIGTERM or SIGINT. Returns the exit status."""
    if settings.webhook_url:
        checked_url(settings.webhook_url)
    app = create_app(settings)
    deliverer = Deliverer(app, settings, client, pace)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: deliverer.stop())
    log.info("delivering webhooks")
    try:
        deliverer.run()
    finally:
        app.extensions[EXTENSION].close()
    return 0


def main(arguments: Sequence[str]) -> int:
    """The command line. Returns the exit status."""
    if arguments == ["--new-secret"]:
        sys.stdout.write(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
        return 0
    settings = get_settings()
    logs.configure(settings)
    if arguments:
        if arguments != ["--health"]:
            sys.stderr.write(f"{__doc__}\n")
            return 2
        return 0 if not settings.webhooks_on or _is_alive(settings) else 1
    if not settings.redis_url:
        log.error("REDIS_URL is not set: which Redis has the jobs?")
        return 2
    if not settings.webhooks_on:
        log.info("webhooks are off: neither ALLOW_WEBHOOKS nor WEBHOOK_URL is set")
        ends = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        signal.sigwait(ends)
        return 0
    try:
        return serve(settings)
    except BadInputError as error:
        log.error("WEBHOOK_URL: %s", error.message)
        return 2


def _is_alive(settings: Settings) -> bool:
    with connect(settings.redis_url, patient=False) as connection:
        try:
            return Hooks(connection).is_alive(socket.gethostname())
        except TransientError:
            return True  # restarting the loop brings no Redis back


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
