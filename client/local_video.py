"""`--local` for videos: the model in this process, frame by frame."""

import hashlib
import mimetypes
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from shared.errors import BadInputError
from shared.jobs import RESULT_DOCUMENT, InputFile, JobOptions, new_job_id
from shared.settings import Settings
from shared.videos import VideoOptions, VideoResult
from worker.images import FORMATS
from worker.models.base import Model
from worker.video_plans import limits_of, predict_with, video_model
from worker.video_results import Looked, video_result
from worker.videos.containers import open_input, prepare
from worker.videos.probing import probe
from worker.videos.processing import process_video

#: decoders' names of pictures that may move
_MAY_MOVE: Final = frozenset({"GIF", "PNG", "WEBP"})


def is_video(path: Path) -> bool:
    """Whether a file is a video or a moving picture, by its content."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.format in _MAY_MOVE and getattr(image, "n_frames", 1) > 1
    except UnidentifiedImageError:
        pass
    except Exception:  # noqa: BLE001 -- a broken picture is told of as one
        return False
    try:
        open_input(path).close()
    except BadInputError:
        return False
    return True


def look_at_video(
    path: Path, folder: Path, model: Model, options: JobOptions, video: VideoOptions, settings: Settings
) -> VideoResult:
    """Find out what is in a video.

    Args:
        path: its file.
        folder: an empty one, for the files of the result.
        model: loaded.
        options: as of an upload.
        video: the same.
        settings: limits.

    Raises:
        BadInputError: "bad_video" if it is none; or it cannot be decoded, is beyond the limits, or not for the model.
    """
    began = datetime.now(UTC)
    finder, limits = video_model(model), limits_of(settings)
    file = prepare(path, folder, limits)
    probed = probe(file, limits)
    findings = process_video(file, probed, video, predict_with(finder, options), folder, limits=limits, batch=1)
    if file != path:
        file.unlink()
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    described = InputFile(
        key="",
        filename=path.name.encode("utf-8", "replace").decode(),
        content_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        bytes=path.stat().st_size,
        sha256=sha256,
    )
    looked = Looked(finder, options, video)
    result = video_result(new_job_id(), described, looked, probed.facts, findings, (began, began), {})
    (folder / RESULT_DOCUMENT).write_bytes(result.to_json())
    return result
