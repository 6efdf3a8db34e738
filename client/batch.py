"""Many files through the service: sent, waited for and saved, several at a time, and canceled if they must be."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from client.api import Client, Option
from client.errors import DropsightError, StoppedError
from client.jobs import Job
from client.outcomes import Outcome
from client.parallel import each_done
from client.progress import Progress
from shared.jobs import ErrorInfo, JobView

#: files that are under way at a time: enough for a few workers, and small change for the server's queue
PARALLEL: Final = 8


class Batch:
    """Files that go through the service with one model and the same options.

    Args:
        client: of the service.
        progress: is told of everything.
        model: its name; empty: the service's default.
        options: fields of the upload's form.
        folder: where the files of each result are saved; None: nowhere.
    """

    def __init__(
        self, client: Client, progress: Progress, model: str, options: Mapping[str, Option], folder: Path | None
    ) -> None:
        self._client = client
        self._progress = progress
        self._model = model
        self._options = options
        self._folder = folder
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._active = 0
        self._jobs: dict[str, Job] = {}
        self._canceled: set[str] = set()

    def run(self, files: Iterable[Path]) -> Iterator[Outcome]:
        """What became of each file, as soon as it is known."""
        return each_done(self._one, files, PARALLEL)

    def stop(self) -> None:
        """Begin nothing more. Jobs that the server has go on."""
        self._stopping.set()
        self._client.stop()

    def cancel(self, seconds: float = 15.0) -> tuple[int, int]:
        """Stop, and have the server cancel the jobs that were begun and have not ended.

        Args:
            seconds: at most, for uploads that are just being answered; their jobs are canceled, too.

        Returns:
            How many were canceled, and how many may still run because the server could not be asked.
        """
        self.stop()
        for job in list(self._jobs.values()):
            self._cancel_one(job)
        end = time.monotonic() + seconds
        with self._changed:
            while self._active and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            return len(self._canceled), len(self._jobs.keys() - self._canceled)

    def _one(self, path: Path) -> Outcome:
        with self._changed:
            self._active += 1
        job: Job | None = None
        try:
            job = self._send(path)
            job.wait(on_change=lambda view: self._look(path, view))
            result = job.result()
            saved = tuple(job.save(self._folder, stem=path.stem)) if self._folder is not None else ()
            outcome = Outcome(path, result=result, id=job.id, link=job.url, cached=job.cached, saved=saved)
        except DropsightError as error:
            outcome = _failed(path, job, error.code, error.message)
        except OSError as error:
            outcome = _failed(path, job, "not_saved", f"The result cannot be saved: {error}")
        finally:
            self._progress.done(path)
            with self._changed:
                self._active -= 1
                if job is not None and job.state.is_final:
                    self._jobs.pop(job.id, None)
                self._changed.notify_all()
        return outcome

    def _send(self, path: Path) -> Job:
        def sent(count: int) -> None:
            if self._stopping.is_set():
                raise StoppedError
            self._progress.sent(path, count)

        job = self._client.submit(path, model=self._model, on_sent=sent, **self._options)
        if not job.state.is_final:
            self._jobs[job.id] = job
            if self._stopping.is_set():  # meanwhile; who stops us may not have seen this job
                self._cancel_one(job)
        return job

    def _look(self, path: Path, view: JobView) -> None:
        if view.progress is not None:
            self._progress.works(path, view.progress.percent / 100)

    def _cancel_one(self, job: Job) -> None:
        try:
            canceled = job.cancel()
        except DropsightError:
            return
        with self._changed:
            if canceled:
                self._canceled.add(job.id)
            else:  # it had ended
                self._jobs.pop(job.id, None)


def _failed(path: Path, job: Job | None, code: str, message: str) -> Outcome:
    error = ErrorInfo(code=code, message=message)
    return Outcome(path, error=error, id=job.id if job else "", link=job.url if job else "")
