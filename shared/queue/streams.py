"""Live streams in Redis: submit, look up, list, stop, forget. A queue of their own, which only streamers listen on."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import redis
from rq.job import Job

from shared.errors import PublicError
from shared.jobs import JobState
from shared.queue import keys
from shared.queue.connection import queue_errors, text
from shared.queue.records import BaseRecord, CancelOutcome
from shared.queue.solo import Kind, SoloQueue
from shared.settings import DAY, MINUTE, Settings
from shared.streams import STREAM_FUNCTION, StreamProgress, StreamRequest

#: attempts after a process of ours has died: a stream runs for days, and its camera may be what kills it
MOST_ATTEMPTS: Final = 20
#: seconds beyond the limit, in which a stream ends in order
_GRACE: Final = 5 * MINUTE
#: seconds for which the URL of a stream that nobody takes is kept, beyond its limit
_URL_KEPT: Final = 7 * DAY
#: seconds for which somebody who has asked for a frame is taken to look
WATCHED_SECONDS: Final = 8
#: seconds for which the number of the newest frame is kept
_FRAME_KEPT: Final = 60

# Say how a stream is, if the attempt still has it. KEYS: job hash, events, watched. ARGV: holder field, holder,
# progress field, progress, stop field. {0: another attempt has it or it is gone, 1: go on, 2: end it; 1 if somebody
# looks}.
_REPORT = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return {0, 0} end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[2], 3600)
return {redis.call('HEXISTS', KEYS[1], ARGV[5]) + 1, redis.call('EXISTS', KEYS[3])}
"""

# Set a field of a job that is there. KEYS: job hash. ARGV: field, value.
_SET = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class StreamRecord(BaseRecord[StreamRequest, StreamProgress]):
    """A stream as Redis knows it."""

    stopping: bool = False
    expires_at: datetime | None = None


_KIND: Final = Kind(
    queue=keys.STREAM,
    listed=keys.STREAMS,
    function=STREAM_FUNCTION,
    record=StreamRecord,
    words={
        "crashed": "The process that looked at the stream died, also when it was tried again.",
        "out_of_memory": "The stream needs more memory than a streamer has.",
        "timeout": "The stream did not end at its limit.",
    },
)


class Answer(NamedTuple):
    """What a streamer hears when it says how a stream is."""

    is_ours: bool
    stop: bool
    is_watched: bool


class StreamQueue(SoloQueue[StreamRecord]):
    """The queue of live streams. Safe to share between threads and greenlets."""

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        super().__init__(connection, settings, _KIND)
        self._report = connection.register_script(_REPORT)
        self._set = connection.register_script(_SET)

    # -- submit and look up

    @queue_errors()
    def submit(self, request: StreamRequest, url: str) -> int:
        """Put a stream into the queue.

        Args:
            request: all but the URL.
            url: with user and password; deleted when the stream ends.

        Returns:
            Its position, 1 for the next.

        Raises:
            PublicError: "queue_full".
            TransientError: "queue_down".
        """
        pipe, settings = self.redis.pipeline(), self._settings
        position = self._enqueue(
            request,
            pipe,
            timeout=settings.max_stream_seconds + _GRACE,
            failure_ttl=settings.failure_ttl,
            retries=MOST_ATTEMPTS,
        )
        pipe.set(keys.stream_url(request.id), url, ex=settings.max_stream_seconds + _URL_KEPT)
        pipe.execute()
        return position

    def _record(self, job_id: str, fields: Mapping[bytes | str, bytes | str], index: int | None) -> StreamRecord | None:
        record = super()._record(job_id, fields, index)
        if record is not None:
            record.stopping = keys.STOP.encode() in fields and not record.state.is_final
            kept = self._settings.result_ttl if record.state is JobState.FINISHED else self._settings.failure_ttl
            if record.finished_at is not None:
                record.expires_at = record.finished_at + timedelta(seconds=kept)
        return record

    @queue_errors()
    def url(self, stream_id: str) -> str | None:
        """The whole URL of a stream that has not ended."""
        found = self.redis.get(keys.stream_url(stream_id))
        return text(found) if found else None

    # -- end and forget

    @queue_errors()
    def stop(self, stream_id: str) -> CancelOutcome:
        """End a stream: a running one writes its summary first. Raises `PublicError("not_found")`."""
        record = self.get(stream_id)
        if record is None:
            raise PublicError("not_found", "There is no such stream.")
        if record.state.is_final:
            return CancelOutcome.TOO_LATE
        if record.state is JobState.QUEUED and record.attempts == 0 and self._is_new(stream_id):
            self.forget_url(stream_id)
            return self.cancel(stream_id)
        self._set(keys=[Job.key_for(stream_id)], args=[keys.STOP, 1])
        self.events.publish(stream_id)
        return CancelOutcome.STOPPING

    def _is_new(self, stream_id: str) -> bool:
        """Whether no attempt has begun: there is nothing to sum up."""
        return not self.redis.hexists(Job.key_for(stream_id), keys.HOLDER)

    def forget(self, stream_id: str) -> bool:
        """As of every job, and the URL."""
        known = super().forget(stream_id)
        with suppress(PublicError):  # it goes by itself in the end
            self.forget_url(stream_id)
        return known

    @queue_errors()
    def forget_url(self, stream_id: str) -> None:
        """Delete the URL with its password."""
        self.redis.delete(keys.stream_url(stream_id))

    # -- what the streamer says

    @queue_errors()
    def hold(self, stream_id: str, holder: str) -> None:
        """From here on this attempt has the stream, and no other."""
        self._set(keys=[Job.key_for(stream_id)], args=[keys.HOLDER, holder])

    @queue_errors()
    def report(self, stream_id: str, holder: str, progress: StreamProgress) -> Answer:
        """Say how a stream is, and hear what is wanted."""
        code, watched = self._report(
            keys=[Job.key_for(stream_id), keys.events(stream_id), keys.stream_watched(stream_id)],
            args=[keys.HOLDER, holder, keys.PROGRESS, progress.model_dump_json(exclude_defaults=True), keys.STOP],
        )
        return Answer(code != 0, code == 2, bool(watched))

    # -- the newest frame, which lies in storage

    @queue_errors()
    def tell_frame(self, stream_id: str, number: int) -> None:
        """There is a new frame."""
        self.redis.set(keys.stream_frame(stream_id), number, ex=_FRAME_KEPT)

    @queue_errors()
    def watch_frame(self, stream_id: str) -> str:
        """What changes with each new frame; says that somebody looks."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.set(keys.stream_watched(stream_id), 1, ex=WATCHED_SECONDS)
        pipe.get(keys.stream_frame(stream_id))
        found = pipe.execute()[1]
        return text(found) if found else ""
