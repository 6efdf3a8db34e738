"""The jobs that Redis knows, as lists and as counts."""

from typing import Final

from rq.job import Job, JobStatus

from shared.jobs import JobState
from shared.queue import keys
from shared.queue.connection import queue_errors, text
from shared.queue.jobs import JobQueue
from shared.queue.records import JobPage, JobRecord, public_state


class Listing:
    """Looks through all jobs. That one is late is found out by looking: it has failed then.

    Args:
        jobs: the queue.
    """

    #: ids looked through at most for one page of a list filtered by state
    SCAN_LIMIT: Final = 2000
    #: of them, ids looked at in one go
    SCAN_BATCH: Final = 500

    def __init__(self, jobs: JobQueue) -> None:
        self._redis = jobs.redis
        self._jobs = jobs

    @queue_errors()
    def page(self, *, state: JobState | None, limit: int, cursor: str | None, owner: str | None = None) -> JobPage:
        """A page of jobs, newest first.

        Args:
            state: only such jobs. A page may then hold fewer than `limit` though more follow.
            limit: most jobs on the page.
            cursor: `next` of the page before.
            owner: only the jobs of that API key.

        Raises:
            ValueError: the cursor is none of ours.
        """
        page = self._page(state, limit, _parse_cursor(cursor), owner)
        self._jobs.add_positions(page.records)
        return page

    def _page(self, state: JobState | None, limit: int, highest: str, owner: str | None) -> JobPage:
        records: list[JobRecord] = []
        looked_at = 0
        most = limit + 1 if state is None else self.SCAN_BATCH
        while looked_at < self.SCAN_LIMIT:
            batch: list[tuple[bytes, float]] = self._redis.zrange(  # type: ignore[assignment]
                keys.jobs(owner),
                highest,
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=most,
                withscores=True,
            )
            matching = batch if state is None else self._in_state(batch, state)
            for start in range(0, len(matching), limit + 1):
                part = matching[start : start + limit + 1]
                found = self._jobs.get_many([text(member) for member, _ in part], positions=False)
                for (_, score), record in zip(part, found, strict=True):
                    if len(records) == limit:
                        return JobPage(records, repr(score))
                    if record is not None and (state is None or record.state is state):
                        records.append(record)
            if len(batch) < most:
                return JobPage(records, None)
            looked_at += len(batch)
            highest = f"({batch[-1][1]!r}"
        return JobPage(records, highest)

    def _in_state(self, batch: list[tuple[bytes, float]], state: JobState) -> list[tuple[bytes, float]]:
        """Those that are in the state: two small fields are read of each, not the whole job."""
        pipe = self._redis.pipeline(transaction=False)
        for member, _ in batch:
            pipe.hmget(Job.key_for(text(member)), "status", keys.BEGAN)
        return [
            item
            for item, (status, began) in zip(batch, pipe.execute(), strict=True)
            if status is not None and public_state(JobStatus(text(status)), has_begun=began is not None) is state
        ]

    @queue_errors()
    def count_by_state(self) -> dict[JobState, int]:
        """Jobs in each state. Counts only: runs no clean-up of RQ's in this process."""
        lanes = self._jobs.lanes
        pipe = self._redis.pipeline(transaction=False)
        for lane in lanes:
            pipe.llen(lane.key)
            pipe.zcard(lane.started_job_registry.key)
            pipe.zcard(lane.finished_job_registry.key)
            pipe.zcard(lane.failed_job_registry.key)
            pipe.zcard(lane.canceled_job_registry.key)
        found, states = pipe.execute(), list(JobState)
        counts = {state: sum(found[number :: len(states)]) for number, state in enumerate(states)}
        counts[JobState.RUNNING] += lanes.parked()
        return counts


def _parse_cursor(cursor: str | None) -> str:
    if cursor is None:
        return "+inf"
    float(cursor.removeprefix("("))
    return cursor
