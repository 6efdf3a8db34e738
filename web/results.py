"""`/results/<id>/<name>`: the files of a result, and the upload itself."""

import io
import zipfile
from pathlib import PurePath
from typing import Final

from apiflask import APIBlueprint
from flask import Response, current_app, redirect, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.utils import secure_filename

from shared.errors import PublicError
from shared.jobs import input_key, result_key
from shared.media import ENDINGS, SHOWN_BY_BROWSERS
from shared.storage import MissingObjectError, RangeError
from shared.stored_file import StoredFile
from web.describing import answers
from web.ids import checked_id
from web.presenting import stored_result
from web.security import USER_FILE_POLICY, VIDEO_FILE_POLICY
from web.services import services

bp = APIBlueprint("results", __name__, tag="Results")

#: the files of a result and the only types they are ever served as
ARTIFACTS: Final = {
    "annotated.jpg": "image/jpeg",
    "thumbnail.jpg": "image/jpeg",
    "result.json": "application/json",
    "heatmap.jpg": "image/jpeg",
    "instances.png": "image/png",
    "masks.zip": "application/zip",
    "coco.json": "application/json",
    "annotated.mp4": "video/mp4",
    "poster.jpg": "image/jpeg",
    "preview.webp": "image/webp",
    "frames.jsonl": "application/x-ndjson",
    "frames.csv": "text/csv",
}


@bp.get("/results/<job_id>/<name>")
@bp.doc(
    summary="A file of a result",
    description=(
        f"`name` is one of {', '.join(ARTIFACTS)}, original. A classifier gives `heatmap.jpg` if it was asked to "
        "explain; a model that outlines objects gives `instances.png` (16 bits: 0 is background, n the n-th of "
        "`detections`), `masks.zip` (an image for each object) and `coco.json`. A video gives `annotated.mp4`, "
        "`poster.jpg`, `preview.webp`, `frames.jsonl` (what is in each frame) and `frames.csv`. `?download=1` has a "
        "browser save it. A part of a file is given for a `Range` of bytes."
    ),
    responses=answers(
        tuple(sorted({*ARTIFACTS.values(), *SHOWN_BY_BROWSERS})),
        {
            200: "The file.",
            206: "A part of it.",
            304: "As the client has it.",
            404: "There is no such file (yet).",
            416: "It has no such part.",
        },
    ),
)
def get_artifact(job_id: str, name: str) -> Response:
    """Serve a file with a fixed type from an allow-list."""
    job_id = checked_id(job_id)
    if name in ARTIFACTS:
        return serve(result_key(job_id, name), ARTIFACTS[name], job_id, name)
    if name != "original":
        raise _missing()
    result = stored_result(services(), job_id)
    if result is None or result.source.content_type not in SHOWN_BY_BROWSERS:
        raise _missing()
    kind, filename = result.source.content_type, result.source.filename
    ending = ENDINGS[kind]
    return serve(input_key(job_id, ending), kind, job_id, f"original{ending}", filename)


@bp.get("/results/<job_id>/masks/<int:number>.png")
@bp.doc(
    summary="The mask of one object",
    description="`number` is its place in `detections`, from 1. White where the object is; of the photo's size.",
    responses=answers(("image/png",), {200: "The mask.", 304: "As the client has it.", 404: "There is no such mask."}),
)
def get_mask(job_id: str, number: int) -> Response:
    """Serve one member of `masks.zip`, without reading the others."""
    key = result_key(checked_id(job_id), "masks.zip")
    storage = services().storage
    most = services().settings.max_megapixels * 1_000_000 // 4  # bytes: twice as many as bits not compressed would be
    stat = storage.stat(key)
    if stat is None:
        raise _missing()
    try:
        with zipfile.ZipFile(io.BufferedReader(StoredFile(storage, stat), StoredFile.PIECE)) as archive:
            member = next((item for item in archive.infolist() if item.filename.startswith(f"{number:03d}-")), None)
            if member is None or member.file_size > most:
                raise _missing()
            data = archive.read(member)
    except (zipfile.BadZipFile, MissingObjectError):  # deleted meanwhile, or never whole
        raise _missing() from None
    response = current_app.response_class(data, mimetype="image/png")
    response.last_modified = stat.modified
    response.set_etag(f"{stat.etag}-{number}")
    _add_headers(response, "download" not in request.args, f"{job_id[:8]}-{secure_filename(member.filename)}")
    return response.make_conditional(request)  # type: ignore[return-value]


def serve(key: str, content_type: str, job_id: str, name: str, filename: str | None = None) -> Response:
    """Stream an object, or send the client to a signed link of it. Raises `PublicError("not_found")`."""
    storage = services().storage
    inline = "download" not in request.args
    if filename is None:
        result = stored_result(services(), job_id) if not inline else None
        filename = result.source.filename if result else job_id[:8]
    saved_as = f"{secure_filename(PurePath(filename).stem) or job_id[:8]}-{name}"
    link = storage.link(key, filename=saved_as, inline=inline)
    if link is not None:
        response = redirect(link, 307)
        response.headers["Cache-Control"] = "no-store"
        return response  # type: ignore[return-value]
    stat = storage.stat(key)
    if stat is None:
        raise _missing()
    etag = stat.etag.strip('"')
    wanted = _wanted_range(stat.size, etag)
    try:
        blob = storage.open(key, wanted)
    except MissingObjectError:
        raise _missing() from None
    except RangeError as error:
        raise RequestedRangeNotSatisfiable(error.size) from None
    response = current_app.response_class(blob, mimetype=content_type)
    response.call_on_close(blob.close)
    response.content_length = blob.length
    response.last_modified = blob.stat.modified
    response.accept_ranges = "bytes"
    response.set_etag(etag)
    _add_headers(response, inline, saved_as)
    response.make_conditional(request)
    if wanted is not None and response.status_code == 200:  # else the client has it, or wants another version only
        response.status_code = 206
        response.content_range.set(blob.first, blob.first + blob.length, blob.stat.size)
    return response


def _wanted_range(size: int, etag: str) -> tuple[int, int | None] | None:
    """The one range of bytes that the client wants, first and last; None for all."""
    if request.method != "GET" or request.range is None or len(request.range.ranges) != 1:
        return None  # several at once nobody asks for, and all of the file is an answer to it, too
    if request.if_range.etag not in (None, etag) or request.if_range.date is not None:
        return None
    first, end = request.range.ranges[0]
    if request.range.units != "bytes":
        return None
    if first < 0:  # so many at the end
        return (max(0, size + first), None)
    return first, None if end is None else end - 1


def _add_headers(response: Response, inline: bool, saved_as: str) -> None:
    is_video = (response.mimetype or "").startswith("video/")
    response.headers["Content-Security-Policy"] = VIDEO_FILE_POLICY if is_video else USER_FILE_POLICY
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.set("Content-Disposition", "inline" if inline else "attachment", filename=saved_as)


def _missing() -> PublicError:
    return PublicError("not_found", "There is no such file, or it has expired.")
