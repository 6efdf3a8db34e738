"""Jobs that wait for their parts: states, and that nothing makes one wait in vain. Workers are played."""

import time
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import redis
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from shared.errors import PublicError
from shared.jobs import ErrorInfo, InputFile, JobOptions, JobRequest, JobState, Priority, new_job_id
from shared.queue import CancelOutcome, JobQueue, PartOrder, PartProgress, keys
from shared.queue.lanes import Taken
from shared.queue.listing import Listing
from shared.queue.overview import Overview
from shared.queue.parts import part_id, progress_of
from shared.settings import Settings
from shared.videos import VideoOptions

ORDERS = [PartOrder(number, frames=10, timeout=60) for number in range(3)]


class Played:
    """A queue, and a worker that does what the test says."""

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        self.redis = connection
        self.jobs = JobQueue(connection, settings)
        self.parts = self.jobs.parts

    def submit(self, **more: object) -> JobRequest:
        job_id = new_job_id()
        request = JobRequest.model_validate(
            {
                "id": job_id,
                "input": InputFile(
                    key="inputs/x.mp4", filename="x", content_type="video/mp4", bytes=1, sha256="0" * 64
                ),
                "model": "m",
                "options": JobOptions(),
                "video": VideoOptions(),
                "cache_key": "0" * 64,
                "created_at": datetime.now(UTC),
            }
            | more
        )
        self.jobs.submit([request])
        return request

    def job(self, job_id: str) -> Job:
        return Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)

    def take(self, worker: str = "w") -> str:
        """Take the next job and say that it has begun, as a worker does."""
        taken = self.jobs.lanes.take(0)
        assert taken is not None
        taken.lane.intermediate_queue.remove(taken.job_id)
        with self.redis.pipeline() as pipe:
            self.job(taken.job_id).prepare_for_execution(worker, pipe)
            pipe.execute()
        return taken.job_id

    def parked(self, **more: object) -> JobRequest:
        """A job that waits for its parts."""
        request = self.submit(**more)
        assert self.take() == request.id
        self.parts.order(request, ORDERS, {})
        self.park(request.id)
        assert self.status(request.id) is JobStatus.DEFERRED
        return request

    def park(self, job_id: str) -> None:
        job = self.job(job_id)
        with self.redis.pipeline() as pipe:
            self.parts.park(job, self.jobs.lanes.named(job.origin), pipe)
            pipe.execute()

    def status(self, job_id: str) -> JobStatus | None:
        found = self.redis.hget(Job.key_for(job_id), "status")
        return JobStatus(found.decode()) if isinstance(found, bytes) else None

    def state(self, job_id: str) -> JobState:
        record = self.jobs.get(job_id)
        assert record is not None
        return record.state

    def fail(self, job_id: str, code: str) -> None:
        self.redis.hset(Job.key_for(job_id), keys.ERROR, ErrorInfo(code=code, message="It is so.").model_dump_json())
        self.job(job_id).set_status(JobStatus.FAILED)


@pytest.fixture
def played(connection: redis.Redis, settings: Settings) -> Played:
    return Played(connection, settings)


def test_the_last_part_has_the_job_go_on(played: Played) -> None:
    request = played.parked()
    begun = played.jobs.get(request.id)
    assert begun is not None
    assert (begun.state, begun.position) == (JobState.RUNNING, None)
    assert Listing(played.jobs).count_by_state()[JobState.RUNNING] == 1
    assert [record.request.id for record in Overview(played.jobs, Settings()).running()] == [request.id]
    assert [played.take() for _ in ORDERS] == [part_id(request.id, number) for number in range(3)]
    for number in (2, 0, 0):
        played.parts.done(request.id, number, 10)
        assert played.status(request.id) is JobStatus.DEFERRED
    played.parts.done(request.id, 1, 10)
    after = played.jobs.get(request.id)
    assert after is not None
    assert (played.status(request.id), after.state) == (JobStatus.QUEUED, JobState.RUNNING)
    assert after.started_at == begun.started_at
    running = Listing(played.jobs).page(state=JobState.RUNNING, limit=5, cursor=None).records
    assert [record.request.id for record in running] == [request.id]
    assert played.take() == request.id
    assert played.jobs.lanes.take(0) is None


def test_who_does_a_part_has_its_video(played: Played) -> None:
    """Not the one it planned last, and a planner that is free again has none."""
    first, second = played.submit(), played.submit()
    for request in (first, second):
        assert played.take("planner") == request.id
        played.parts.order(request, ORDERS[:1], {})
        played.park(request.id)
    assert played.take("other") == part_id(first.id, 0)
    started = played.jobs.lanes.parts.started_job_registry.key
    played.redis.zadd(started, {f"{part_id(first.id, 0)}:x": 2e9})  # RQ's name for one run of a job
    assert _at_work(played) == {"other": first.id}
    assert played.take("planner") == part_id(second.id, 0)
    played.redis.zadd(started, {f"{part_id(second.id, 0)}:x": 2e9})
    assert _at_work(played) == {"other": first.id, "planner": second.id}


def _at_work(played: Played) -> dict[str, str]:
    found = Overview(played.jobs, Settings()).at_work()
    return {worker: record.request.id for worker, record in found.items()}


def test_parts_that_are_done_before_the_job_waits(played: Played) -> None:
    request = played.submit()
    played.take()
    played.parts.order(request, ORDERS, {0: 10})
    for number in (1, 2):
        assert played.take() == part_id(request.id, number)
        played.parts.done(request.id, number, 10)
    played.park(request.id)
    assert played.take() == request.id


def test_a_job_that_says_twice_that_it_waits_is_queued_once(played: Played) -> None:
    """Redis did it, and its answer was lost: the worker says it again."""
    request = played.parked()
    for number in range(3):
        assert played.take() == part_id(request.id, number)
        played.parts.done(request.id, number, 10)
    played.park(request.id)
    assert played.take() == request.id
    assert played.jobs.lanes.take(0) is None


def test_parts_are_nobodys_business(played: Played) -> None:
    """They are in no list and no count, and their ids cannot be asked for."""
    request = played.parked()
    listed = Listing(played.jobs).page(state=None, limit=9, cursor=None).records
    assert [record.request.id for record in listed] == [request.id]
    assert played.jobs.get(part_id(request.id, 0)) is None
    assert played.jobs.waiting() == 0
    assert sum(Listing(played.jobs).count_by_state().values()) == 1


def test_what_waits_for_parts_counts_against_the_limit(connection: redis.Redis, settings: Settings) -> None:
    played = Played(connection, settings.model_copy(update={"max_queue": 2}))
    played.parked()
    played.submit()
    with pytest.raises(PublicError, match="queue_full"):
        played.submit()


def test_cancel_and_delete_while_parts_run(played: Played) -> None:
    for number, end in enumerate((played.jobs.cancel, played.jobs.forget)):
        request = played.parked()
        running = played.take()
        assert played.parts.report(request.id, 0, PartProgress(percent=1, frames=1, fps=1, at=time.time())) is not None
        assert end(request.id) in (CancelOutcome.CANCELED, True)
        # the one that a worker has learns of it at its next report; the others are gone
        assert played.parts.report(request.id, 0, PartProgress(percent=2, frames=2, fps=1, at=time.time())) is None
        assert played.jobs.lanes.take(0) is None
        assert played.status(part_id(request.id, 1)) is None
        played.parts.done(request.id, 0, 10)
        assert not played.parts.wake(request.id)
        played.job(running).delete()
        assert Listing(played.jobs).count_by_state()[JobState.RUNNING] == 0
        assert Listing(played.jobs).count_by_state()[JobState.CANCELED] == 1, number
    assert list(played.redis.scan_iter(keys.parts("*"))) == []


def test_a_cancel_that_comes_just_before_the_job_waits(played: Played) -> None:
    request = played.submit()
    played.take()
    played.parts.order(request, ORDERS, {})
    played.redis.hset(Job.key_for(request.id), keys.CANCEL, 1)
    played.park(request.id)
    assert played.state(request.id) is JobState.CANCELED


def test_a_deadline_that_passes_while_parts_run(played: Played) -> None:
    request = played.parked(deadline=datetime.now(UTC) + timedelta(seconds=0.2))
    assert played.jobs.expire_due() == 0
    time.sleep(0.25)
    assert played.jobs.expire_due() == 1
    record = played.jobs.get(request.id)
    assert record is not None
    assert record.error is not None
    assert record.error.code == "expired"
    assert played.parts.report(request.id, 0, PartProgress(percent=1, frames=1, fps=1, at=time.time())) is None
    assert Listing(played.jobs).count_by_state()[JobState.RUNNING] == 0


def test_a_part_that_has_failed_fails_the_job_and_can_be_tried_again(played: Played) -> None:
    request = played.parked()
    played.fail(played.take(), "bad_video")
    assert played.parts.sweep() == [request.id]
    assert played.take() == request.id
    with pytest.raises(PublicError, match="bad_video: It is so"):
        played.parts.order(request, ORDERS, {})
    played.fail(request.id, "bad_video")
    Overview(played.jobs, Settings()).retry(request.id)
    assert played.take() == request.id
    played.parts.order(request, ORDERS, {})
    assert Counter(played.take() for _ in ORDERS) == Counter(part_id(request.id, number) for number in range(3))


def test_whoever_waits_in_vain_looks_again(played: Played) -> None:
    assert played.parts.sweep() == []
    request = played.parked()
    assert played.parts.sweep() == [], "its parts are waiting"
    played.take()
    assert played.parts.sweep() == [], "and one is running"
    played.redis.delete(Job.key_for(part_id(request.id, 2)))  # as if Redis had lost it
    assert played.parts.sweep() == [request.id]
    played.jobs.cancel(request.id)
    forgotten = played.parked(priority=Priority.BULK)
    played.redis.delete(keys.parts(forgotten.id))
    assert played.parts.sweep() == [forgotten.id]


def test_progress_of_all_parts_together() -> None:
    now = time.time()
    fields = {"total": "4"} | {f"frames:{number}": str(frames) for number, frames in enumerate((100, 100, 100, 200))}
    fields |= {
        "done:0": "99",
        "at:0": PartProgress(percent=97, frames=97, fps=10, at=now).model_dump_json(),
        "at:1": PartProgress(percent=50, frames=49, fps=20, at=now).model_dump_json(),
        "at:2": PartProgress(percent=90, frames=90, fps=30, at=now - 60).model_dump_json(),
        "live": "7",
    }
    progress = progress_of(fields, alive_since=now - 15)
    assert progress.parts is not None
    assert progress.parts.model_dump() == {"done": 1, "running": 1, "total": 4, "percents": [100, 50, 0, 0]}
    assert (progress.percent, progress.frames, progress.fps, progress.live) == (28, 148, 20, 7)
    assert progress.seconds_left == pytest.approx((500 - 150) / 20)
    nothing = progress_of({}, now)
    assert (nothing.percent, nothing.seconds_left, nothing.live) == (0, None, None)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_whose_turn_it_is(played: Played, ahead: int) -> None:
    """Photos go before parts, parts and bulk jobs take turns, and none of the three is starved.

    Also where jobs are taken before those that were taken earlier have been begun.
    """
    lanes = played.jobs.lanes
    for lane in lanes.all:
        for number in range(60):
            lane.push_job_id(f"{lane.name}-{number}")
    unbegun: deque[Taken] = deque()

    def take_one() -> str:
        taken = lanes.take(0)
        assert taken is not None
        unbegun.append(taken)
        if len(unbegun) > ahead:
            begun = unbegun.popleft()
            begun.lane.intermediate_queue.remove(begun.job_id)
            if begun.contended:
                played.redis.incr(keys.TURN)  # as to begin it does
        return taken.lane.name

    order = []
    for _ in range(100):
        order.append(take_one())
        lanes.interactive.push_job_id("x")  # they come without an end
    counts = Counter(order)
    assert (counts[keys.QUEUE], counts[keys.PARTS], counts[keys.BULK]) == (80, 10, 10)
    played.redis.delete(lanes.interactive.key)
    rest = [take_one() for _ in range(40)]
    assert all(one != other for one, other in pairwise(rest))
