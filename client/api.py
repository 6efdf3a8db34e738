"""`Client`: what a program does with a Dropsight service."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from client.documents import Models, parsed
from client.errors import DropsightError
from client.jobs import Job
from client.multipart import MultipartFile
from client.parallel import each_done
from client.transport import Transport

DEFAULT_SERVER: Final = "http://localhost:5000"
#: value of a field of the upload's form
Option: TypeAlias = str | int | float | bool


class Client:
    """A Dropsight service. Any number of threads may use one client.

    A server that restarts or is busy (429, 502, 503, 504, a broken connection) is asked again, after the time that it
    says or else longer each time, for `patience` seconds. A context manager; without `with`, call `close`.

    Args:
        server: its URL.
        api_key: where the service asks for one.
        patience: in seconds; 0 tries everything once.

    Raises:
        ValueError: `server` is no URL of a server.
    """

    def __init__(self, server: str = DEFAULT_SERVER, api_key: str | None = None, *, patience: float = 60.0) -> None:
        self._transport = Transport(server, api_key, patience)

    @property
    def server(self) -> str:
        """URL of the service, without a slash at its end."""
        return self._transport.server

    def models(self, *, patience: float | None = None) -> Models:
        """The models, and what the service takes. Raises `DropsightError`.

        Args:
            patience: another than the client's.
        """
        return parsed(Models, self._transport.json("GET", "/models", patience=patience))

    def submit(
        self, path: str | Path, *, model: str = "", on_sent: Callable[[int], None] | None = None, **options: Option
    ) -> Job:
        """Upload a file. Its job runs, or waits for others, when this returns.

        An upload whose answer was lost is sent again, so a job may, rarely, be there twice.

        Args:
            path: the file.
            model: its name, one only; empty: the service's default.
            on_sent: told from time to time how many bytes are sent; less than before when it is sent again. What it
                raises ends the upload.
            **options: of the job, for instance `score=0.4`; the fields of the upload's form. The server checks them.

        Raises:
            UnreadableFileError: the file cannot be read.
            RefusedError: for instance "unsupported_type", "too_large", "invalid_option", "unauthorized".
            ConnectionFailedError: the server cannot be reached.
            ValueError: several models are named: they would be several jobs.
        """
        return self._submit(Path(path), model, options, on_sent)

    def submit_many(
        self, paths: Iterable[str | Path], *, parallel: int = 4, model: str = "", **options: Option
    ) -> Iterator[tuple[Path, Job | DropsightError]]:
        """Upload many files, `parallel` at a time, and not faster than the caller takes them.

        Args:
            paths: taken one by one: a generator may give any number.
            parallel: uploads at a time.
            model: as for `submit`.
            **options: as for `submit`.

        Yields:
            Each path with its job, or with why it was not taken; first what was sent first.
        """

        def send(path: Path) -> tuple[Path, Job | DropsightError]:
            try:
                return path, self._submit(path, model, options)
            except DropsightError as error:
                return path, error

        yield from each_done(send, map(Path, paths), parallel)

    def job(self, job_id: str) -> Job:
        """A job from before, by its id. Raises `RefusedError` ("not_found")."""
        job = Job(self._transport, job_id)
        job.refresh()
        return job

    def stop(self) -> None:
        """End what other threads do with this client, with `StoppedError`. `Job.cancel` still works."""
        self._transport.stop()

    def close(self) -> None:
        """Stop, and close the connections. Jobs go on."""
        self._transport.close()

    def _submit(
        self, path: Path, model: str, options: Mapping[str, Option], on_sent: Callable[[int], None] | None = None
    ) -> Job:
        fields = {name: _written(value) for name, value in options.items()}
        if "," in model:
            raise ValueError(f"{model!r} are several models, each of which makes a job; send the file once for each.")
        if model:
            fields["model"] = model
        answer = self._transport.json("POST", "/upload", body=lambda: MultipartFile(path, fields, on_sent))
        return Job.of_upload(self._transport, answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _written(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
