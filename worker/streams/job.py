"""What the queue runs: one attempt at a live stream, which goes on where another attempt has left it.

It runs in the resident horse of a streamer. What it needs is made once by `set_up`.
"""

import faulthandler
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from shared.catalog import CatalogReader
from shared.errors import BadInputError, PublicError, TransientError
from shared.jobs import RESULT_DOCUMENT, result_key, result_prefix
from shared.queue import connect
from shared.queue.streams import StreamQueue
from shared.results import plural
from shared.settings import Settings
from shared.storage import MissingObjectError, Storage, open_storage
from shared.stream_urls import parse_stream_url, stream_client
from shared.streams import (
    LATEST_FRAME,
    STATE_DOCUMENT,
    StreamProgress,
    StreamRequest,
    StreamResult,
    StreamState,
    segment_key,
)
from worker.models.base import DetectionModel
from worker.models.detections import Detections
from worker.models.registry import ModelCache
from worker.pixels import Pixels
from worker.scratch import scratch_folder, sweep_scratch
from worker.streams import LEAVE_SIGNAL
from worker.streams.recording import Recorder
from worker.streams.sources import Patience
from worker.streams.watching import Order, Plan, Reason, StuckError, Watcher
from worker.videos.limits import VideoLimits

log = logging.getLogger(__name__)

#: seconds between two writes of the state
_SAVE_GAP: Final = 5.0
#: seconds after which a stream that says nothing hangs in native code: its process is ended
_HANG: Final = 180


class LostError(Exception):
    """Another attempt has the stream, or it was deleted."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every stream of this process uses."""

    settings: Settings
    storage: Storage
    models: ModelCache
    queue: StreamQueue
    about: dict[str, Any]
    patience: Patience
    leaving: threading.Event
    """the streamer is being stopped"""


_tools: Tools | None = None


def set_up(settings: Settings, patience: Patience | None = None) -> dict[str, Any]:
    """Open the connections. Models are loaded when a stream wants one.

    Returns:
        What the streamer announces of itself.
    """
    global _tools
    sweep_scratch()
    leaving = threading.Event()
    signal.signal(LEAVE_SIGNAL, lambda _signum, _frame: leaving.set())
    reader = CatalogReader(settings.catalog, settings.default_model)
    _tools = Tools(
        settings=settings,
        storage=open_storage(settings),
        models=ModelCache(reader.read, settings),
        queue=StreamQueue(connect(settings.redis_url, patient=False), settings),
        about={"engine": settings.engine, "models": []},
        patience=patience or Patience(),
        leaving=leaving,
    )
    _tools.storage.prepare()
    return _tools.about


def run(request: Mapping[str, Any]) -> None:
    """Watch a stream until it ends.

    Args:
        request: a `StreamRequest` as JSON.

    Raises:
        BadInputError: the stream cannot be had, or may not be; the same again gives the same.
        TransientError: storage or Redis is away; worth trying again later.
    """
    if _tools is None:
        raise RuntimeError("set_up was not called in this process")
    tools, stream = _tools, StreamRequest.model_validate(request)
    try:
        _Attempt(stream, tools).run()
    except LostError:
        log.warning("stream %s: another attempt has it, or it was deleted", stream.id)
    except StuckError:
        log.exception("stream %s", stream.id)
        os._exit(1)  # a thread in native code would go on for ever; the parent has another process take over
    except BadInputError:
        tools.queue.forget_url(stream.id)
        raise
    finally:
        tools.about["models"] = list(tools.models.resident)
        if tools.queue.was_deleted(stream.id):
            tools.storage.delete_prefix(result_prefix(stream.id))


class _Attempt:
    """One attempt at a stream. It is the `Store` of its recorder."""

    def __init__(self, request: StreamRequest, tools: Tools) -> None:
        self._request = request
        self._tools = tools
        self._holder = secrets.token_hex(8)
        self._is_watched = False
        self._frame = int(time.time())  # rises, also from one attempt to the next
        self._saved = time.monotonic()
        self._segments = 0

    def run(self) -> None:
        request, settings, queue = self._request, self._tools.settings, self._tools.queue
        queue.hold(request.id, self._holder)
        state = self._load_state()
        url = queue.url(request.id)
        if url is None:
            raise BadInputError("input_gone", "The address of the stream is no longer known.")
        model = self._tools.models.get(request.model)
        if not isinstance(model, DetectionModel):
            raise BadInputError("invalid_option", f"model: {request.model} does not find objects.")
        self._tools.about.update(engine=model.info().engine, models=list(self._tools.models.resident))
        state = state.model_copy(update={"model": model.info()})
        self._save(state)

        def predict(pixels: Pixels) -> Detections:
            prepared = model.preprocess(pixels)
            return model.understand(model.infer(prepared), prepared, request.options)

        limit = min(settings.max_stream_seconds, request.stream.seconds or settings.max_stream_seconds)
        limits = VideoLimits(max_pixels=min(VideoLimits().max_pixels, settings.max_megapixels * 1_000_000))
        plan = Plan(
            parse_stream_url(url),
            stream_client(settings.stream_hosts),
            request.stream,
            limit,
            self._tools.patience,
            limits,
        )
        with scratch_folder() as folder:
            recorder = Recorder(
                folder,
                request.stream,
                settings.stream_segment_seconds,
                settings.stream_keep_seconds,
                self,
                state,
                lambda: self._is_watched,
            )
            watcher = Watcher(plan, state, predict, recorder, self._tell)
            try:
                reason = watcher.run()
            except Exception as error:
                if isinstance(error, LostError):
                    recorder.abandon()
                    raise
                recorder.close()
                self._save(watcher.state())
                raise
            except BaseException:  # ended at once: canceled or deleted
                recorder.abandon()
                raise
            recorder.close()
            self._save(watcher.state())
        if reason == "left":
            raise TransientError("not_ready", "The streamer is being stopped; another goes on.")
        self._finish(watcher.state(), watcher.seconds(), reason)
        queue.forget_url(request.id)

    # -- what is told

    def _tell(self, progress: StreamProgress, state: StreamState) -> Order:
        faulthandler.dump_traceback_later(_HANG, exit=True)
        now = time.monotonic()
        if now - self._saved >= _SAVE_GAP or progress.segments != self._segments:
            self._saved, self._segments = now, progress.segments
            self._save(state)
        try:
            answer = self._tools.queue.report(self._request.id, self._holder, progress)
        except TransientError as error:  # the stream goes on; whether it is still ours is asked when Redis is back
            log.warning("stream %s: %s", self._request.id, error)
            return Order.GO_ON
        if self._tools.leaving.is_set():
            return Order.LEAVE
        self._is_watched = answer.is_watched
        if not answer.is_ours:
            raise LostError
        return Order.STOP if answer.stop else Order.GO_ON

    # -- `Store`

    def put_latest(self, jpeg: bytes) -> bool:
        """As `Store`."""
        self._frame += 1
        try:
            self._tools.storage.put(result_key(self._request.id, LATEST_FRAME), jpeg)
            self._tools.queue.tell_frame(self._request.id, self._frame)
        except PublicError as error:
            log.warning("stream %s: a frame is not shown: %s", self._request.id, error)
            return False
        return True

    def put_segment(self, number: int, file: Path) -> bool:
        """As `Store`."""
        try:
            self._tools.storage.put_file(segment_key(self._request.id, number), file)
        except PublicError as error:
            log.warning("stream %s: segment %d is lost: %s", self._request.id, number, error)
            return False
        return True

    def drop_segment(self, number: int) -> bool:
        """As `Store`."""
        try:
            self._tools.storage.delete(segment_key(self._request.id, number))
        except PublicError as error:
            log.warning("stream %s: segment %d stays: %s", self._request.id, number, error)
            return False
        return True

    # -- documents

    def _load_state(self) -> StreamState:
        try:
            return StreamState.model_validate_json(
                self._tools.storage.get(result_key(self._request.id, STATE_DOCUMENT))
            )
        except (MissingObjectError, ValidationError):
            return StreamState(started_at=datetime.now(UTC))

    def _save(self, state: StreamState) -> None:
        data = state.model_dump_json(exclude_none=True).encode()
        try:
            self._tools.storage.put(result_key(self._request.id, STATE_DOCUMENT), data)
        except PublicError as error:
            log.warning("stream %s: its state is not kept: %s", self._request.id, error)

    def _finish(self, state: StreamState, seconds: float, reason: Reason) -> None:
        request = self._request
        width, height = state.size or (None, None)
        result = StreamResult(
            id=request.id,
            url=request.url,
            created_at=request.created_at,
            started_at=state.started_at,
            finished_at=datetime.now(UTC),
            reason=reason,
            model=state.model,
            options=request.options.of_task("detection"),
            stream_options=request.stream,
            width=width,
            height=height,
            seconds=round(seconds, 1),
            frames=state.frames,
            connections=state.connections,
            text=sentence(state.totals.counts),
            totals=state.totals,
            timeline=state.timeline,
            events=state.events,
            segments=state.segments,
        )
        self._tools.storage.put(result_key(request.id, RESULT_DOCUMENT), result.to_json())
        log.info("stream %s: %s after %.0f s: %s", request.id, reason, seconds, result.text)


def sentence(counts: Mapping[str, int]) -> str:
    """A plain sentence: "12 people and 1 dog were seen."."""
    if not counts:
        return "Nothing that this model knows was seen."
    *most, last = [f"{count} {plural(label, count)}" for label, count in counts.items()]
    were = "was" if sum(counts.values()) == 1 else "were"
    return f"{', '.join(most)} and {last} {were} seen." if most else f"{last} {were} seen."
