"""A job: what became of a file that was sent."""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import requests

from client.documents import parsed
from client.errors import JobCanceledError, JobFailedError, ProtocolError, RefusedError, WaitTimeoutError
from client.saving import place
from client.transport import Transport
from shared.jobs import RESULT_DOCUMENT, JobState, JobView
from shared.results import ImageResult
from shared.videos import VideoResult

#: seconds that one question for a job's end waits on the server; less where somebody watches the progress
LONG_LOOK: Final = 20
SHORT_LOOK: Final = 2
#: seconds between two questions where the server, or a proxy before it, does not wait
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 3.0
#: what is not saved: the picture for lists is `annotated.jpg` again, only smaller
NOT_SAVED: Final = frozenset({"thumbnail.jpg"})


Result: TypeAlias = ImageResult | VideoResult


class Job:
    """A file that was sent. Made by `Client.submit` and `Client.job`. Any number of threads may use it.

    Attributes:
        id: of the job.
        cached: whether the service knew the file's result from before; then this is the job of that time.
    """

    def __init__(self, transport: Transport, job_id: str, *, cached: bool = False) -> None:
        self.id = job_id
        self.cached = cached
        self._transport = transport
        self._view: JobView | None = None
        self._lock = threading.Lock()

    @classmethod
    def of_upload(cls, transport: Transport, answer: Mapping[str, Any]) -> "Job":
        """The job that an upload was answered with. Raises `ProtocolError`."""
        job_id = answer.get("id")
        if not isinstance(job_id, str) or not job_id.isalnum():
            raise ProtocolError("The server's answer to an upload has no id of a job.")
        job = cls(transport, job_id, cached=answer.get("cached") is True)
        if "result" in answer:  # known from before: the answer is the whole job
            job._view = parsed(JobView, answer)
        return job

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state}>"

    @property
    def url(self) -> str:
        """The page to look at, and to send to others."""
        return f"{self._transport.server}/view/{self.id}"

    @property
    def state(self) -> JobState:
        """As it was when the server was last asked."""
        return self._view.state if self._view is not None else JobState.QUEUED

    @property
    def view(self) -> JobView:
        """All that the server says of the job, as it was when it was last asked."""
        return self._view or self.refresh()

    def refresh(self) -> JobView:
        """Ask the server. Raises `RefusedError` ("not_found": it was deleted or has expired), `DropsightError`."""
        return self._look(0)

    def wait(self, timeout: float | None = None, *, on_change: Callable[[JobView], None] | None = None) -> JobState:
        """Wait until the job has ended.

        Args:
            timeout: seconds; None waits as long as it takes.
            on_change: told every other second, and at the end, how the job is. What it raises ends the waiting.

        Returns:
            "finished", "failed" or "canceled".

        Raises:
            WaitTimeoutError: it has not ended in time. It goes on.
            DropsightError: as `refresh`.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        view: JobView | None = None
        while not self.state.is_final:
            left = float("inf") if end is None else max(0.0, end - time.monotonic())
            if left == 0 and view is not None:  # asked once, also without any time
                raise WaitTimeoutError(f"The job {self.id} has not ended within {timeout:g} s; it is {self.state}.")
            asked = time.monotonic()
            seconds = int(min(left, SHORT_LOOK if on_change is not None else LONG_LOOK))  # whole ones are wanted
            view = self._look(seconds, patience=None if end is None else left)
            if on_change is not None:
                on_change(view)
            if view.state.is_final:
                break
            if time.monotonic() - asked < seconds / 2 or seconds == 0:
                self._transport.pause(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)
        return self.state

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result.

        Args:
            timeout: as for `wait`.

        Raises:
            JobFailedError: with the code and the message that the job failed with.
            JobCanceledError: somebody canceled it.
            WaitTimeoutError, DropsightError: as `wait`.
        """
        state, view = self.wait(timeout), self.view
        if view.result is not None:
            return view.result
        if state is JobState.CANCELED:
            raise JobCanceledError("The job was canceled.")
        if view.error is None:
            raise ProtocolError(f"The job {self.id} is {state}, without a result.")
        raise JobFailedError(view.error.code, view.error.message)

    def save(self, folder: str | Path, *, stem: str | None = None, timeout: float | None = None) -> list[Path]:
        """Wait for the result and save its files: the drawn picture, what else the model made, and `result.json`.

        Args:
            folder: made if it is not there. Nothing in it is overwritten: a second `dog` becomes `dog-2`.
            stem: what the names begin with; None: as the file was called.
            timeout: as for `wait`.

        Returns:
            The files, for instance `dog-annotated.jpg` and `dog-result.json`, the document last.

        Raises:
            As `result`.
            OSError: the folder cannot be written to.
        """
        result = self.result(timeout)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dropsight-", dir=folder) as scratch:
            files = {}
            for name in [*(artifact.name for artifact in result.artifacts), RESULT_DOCUMENT]:
                if name not in NOT_SAVED:
                    files[name] = Path(scratch) / name
                    self.download(name, files[name])
            return place(files, folder, stem or Path(self.view.filename).stem, fallback=self.id[:8])

    def download(self, name: str, path: Path) -> None:
        """Get one file of the result, for instance "annotated.jpg".

        Raises:
            RefusedError: "not_found".
            DropsightError, OSError: it cannot be had, or not be written.
        """

        def write(answer: requests.Response) -> None:
            with path.open("wb") as file:
                for piece in answer.iter_content(256 * 1024):
                    file.write(piece)

        self._transport.download(f"/results/{self.id}/{name}", write)

    def cancel(self) -> bool:
        """Have the job not run, or stop.

        Returns:
            Whether it was canceled; False if it had ended already.

        Raises:
            RefusedError: "not_found", or "forbidden": it belongs to another key.
            DropsightError: the server cannot be reached.
        """
        try:
            answer = self._transport.json("POST", f"/jobs/{self.id}/cancel", even_stopped=True)
        except RefusedError as error:
            if error.code == "conflict":
                return False
            raise
        self._keep(parsed(JobView, answer))
        return True

    def _look(self, seconds: int, patience: float | None = None) -> JobView:
        params = {"wait": str(seconds)} if seconds else None
        longest = self._transport.patience
        answer = self._transport.json(
            "GET",
            f"/jobs/{self.id}",
            params=params,
            wait=seconds,
            patience=longest if patience is None else min(patience, longest),
        )
        return self._keep(parsed(JobView, answer))

    def _keep(self, view: JobView) -> JobView:
        with self._lock:
            if self._view is None or not self._view.state.is_final:  # an older answer may come later
                self._view = view
            return self._view
