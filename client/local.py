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
from shared.videos import VideoOptions, VideoResult


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
        video = {name: value for name, value in options.items() if name in VideoOptions.model_fields}
        try:
            self._options = JobOptions.model_validate({name: options[name] for name in options.keys() - video})
            self._video = VideoOptions.model_validate(video)
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
        """Find out what is in a picture or a video.

        Args:
            path: its file.
            keep: save what was drawn somewhere and link to it, if it is saved nowhere else.
        """
        folder = self._folder or (Path(tempfile.mkdtemp(prefix="dropsight-")) if keep else None)
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".dropsight-", dir=folder) as scratch:
                result = self._result(path, Path(scratch))
                names = [*(artifact.name for artifact in result.artifacts), RESULT_DOCUMENT]
                files = {name: Path(scratch) / name for name in names if name not in NOT_SAVED}
                shown = place(files, folder, path.stem, fallback="picture") if folder is not None else []
        except PublicError as error:
            return Outcome(path, error=ErrorInfo(code=error.code, message=error.message))
        except OSError as error:
            return Outcome(path, error=ErrorInfo(code="unreadable_file", message=str(error)))
        link = shown[0].resolve().as_uri() if shown else ""
        return Outcome(path, result=result, link=link, saved=tuple(shown) if self._folder is not None else ())

    def _result(self, path: Path, folder: Path) -> ImageResult | VideoResult:
        """The result; its files are written into a folder."""
        from client.local_video import is_video, look_at_video

        if is_video(path):
            return look_at_video(path, folder, self._model, self._options, self._video, self._settings)
        return self._look_at_picture(path, folder)

    def _look_at_picture(self, path: Path, folder: Path) -> ImageResult:
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
        for made in seen.files:
            (folder / made.artifact.name).write_bytes(made.data)
        (folder / RESULT_DOCUMENT).write_bytes(result.to_json())
        return result
