"""`--local`: the model in this process. The only module that knows the worker, and only once it is used."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from client.api import Option
from client.errors import DropsightError
from client.jobs import NOT_SAVED
from client.outcomes import Outcome
from client.saving import place
from shared.errors import PublicError
from shared.jobs import RESULT_DOCUMENT, ErrorInfo, InputFile, JobOptions, new_job_id
from shared.results import ImageResult


class LocalError(DropsightError):
    """The model cannot be run in this process.

    Attributes:
        code: "not_installed_here", or the code that a server would have answered with.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LocalModel:
    """A model of the catalogue, loaded into this process, with the settings of the environment (docs/settings.md).

    Args:
        name: of the model; empty: the default one.
        options: as of an upload.
        folder: where results are saved; None: nowhere.

    Raises:
        LocalError: the worker's packages or the model's files are not there, or an option is wrong.
    """

    def __init__(self, name: str, options: Mapping[str, Option], folder: Path | None) -> None:
        try:
            self._options = JobOptions.model_validate(options)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise LocalError("invalid_option", wrong) from None
        try:
            from shared.catalog import CatalogReader
            from shared.settings import get_settings
            from worker.models.registry import ModelCache
        except ImportError as error:
            raise LocalError(
                "not_installed_here",
                f"--local needs what a worker needs: pip install '.[worker,openvino]' in Dropsight's folder ({error}).",
            ) from error
        self._folder = folder
        self._settings = get_settings()
        try:
            reader = CatalogReader(self._settings.catalog, self._settings.default_model)
            self._model = ModelCache(reader.read, self._settings).get(name or reader.read().default)
        except PublicError as error:
            raise LocalError(error.code, error.message) from error

    def look(self, path: Path, *, keep: bool = False) -> Outcome:
        """Find out what is in a picture.

        Args:
            path: its file.
            keep: save the drawn picture somewhere and link to it, if it is saved nowhere else.
        """
        try:
            result, files = self._result(path)
            saved = _save(self._folder, path.stem, files) if self._folder is not None else []
            shown = saved or (_save(Path(tempfile.mkdtemp(prefix="dropsight-")), path.stem, files) if keep else [])
        except PublicError as error:
            return Outcome(path, error=ErrorInfo(code=error.code, message=error.message))
        except OSError as error:
            return Outcome(path, error=ErrorInfo(code="unreadable_file", message=str(error)))
        link = shown[0].resolve().as_uri() if shown else ""
        return Outcome(path, result=result, link=link, saved=tuple(saved))

    def _result(self, path: Path) -> tuple[ImageResult, dict[str, bytes]]:
        """The result, and its files by their names."""
        from PIL import Image

        from worker.clock import PhaseClock
        from worker.images import decode_image
        from worker.looking import look

        clock, settings = PhaseClock(), self._settings
        with clock.phase("fetch"):
            data = path.read_bytes()
        with clock.phase("decode"):
            image = decode_image(data, max_pixels=settings.max_megapixels * 1_000_000, max_aspect=settings.max_aspect)
        file = InputFile(
            key="",
            filename=path.name.encode("utf-8", "replace").decode(),
            content_type=Image.MIME.get(image.format, "application/octet-stream"),
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        seen = look(image, file, self._model, self._options, clock)
        result = seen.result(new_job_id(), clock.started_at, clock)
        files = {file.artifact.name: file.data for file in seen.files if file.artifact.name not in NOT_SAVED}
        return result, files | {RESULT_DOCUMENT: result.to_json()}


def _save(folder: Path, stem: str, files: Mapping[str, bytes]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dropsight-", dir=folder) as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        return place({name: Path(scratch) / name for name in files}, folder, stem, fallback="picture")
