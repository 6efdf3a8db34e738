"""The masks of a result as files that other tools read: an image of ids, an image for each object, COCO's JSON.

All have the size of the oriented original. Objects have numbers from 1, in the order of the result's `detections`.
"""

import io
import json
import math
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np

from shared.results import Artifact, Detection
from worker.masks import InstanceMask

#: objects that 16 bits can number; far more than a job may ask for
MOST_OBJECTS: Final = 2**16 - 1
#: letters of a label in a file's name
_NAME_LENGTH: Final = 40
#: of every member: the same masks give the same bytes
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
#: zlib's: masks are so regular that more effort gains little, and a dozen megapixels take long as it is
_COMPRESSION: Final = 1


def mask_files(
    masks: Sequence[InstanceMask], detections: Sequence[Detection], size: tuple[int, int], filename: str = ""
) -> list[tuple[Artifact, bytes]]:
    """`instances.png`, `masks.zip` and `coco.json`, as artifacts with their content.

    Args:
        masks: of each detection, in their order.
        detections: as the result document has them, with their masks as RLE.
        size: height and width of the oriented original.
        filename: of the original, for COCO's `file_name`.

    Raises:
        ValueError: there are not as many masks as detections, a detection has no RLE, or there are too many.
    """
    height, width = size
    return [
        _artifact("instances.png", "image/png", instance_ids(masks, size), width, height),
        _artifact("masks.zip", "application/zip", mask_zip(masks, [found.label for found in detections], size)),
        _artifact("coco.json", "application/json", coco_json(masks, detections, size, filename)),
    ]


def instance_ids(masks: Sequence[InstanceMask], size: tuple[int, int]) -> bytes:
    """A 16-bit greyscale PNG: 0 is background, n the n-th object. Where objects overlap, the first of them counts.

    Raises:
        ValueError: more than `MOST_OBJECTS` masks.
    """
    if len(masks) > MOST_OBJECTS:
        raise ValueError(f"{len(masks)} objects are more than 16 bits can number")
    ids = np.zeros(size, np.uint16)
    for number in range(len(masks), 0, -1):
        mask = masks[number - 1]
        rows, columns = mask.pixels.shape
        ids[mask.top : mask.top + rows, mask.left : mask.left + columns][mask.pixels] = number
    done, encoded = cv2.imencode(".png", ids, [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])
    if not done:
        raise ValueError(f"cannot write a PNG of {size}")
    return encoded.tobytes()


def mask_zip(masks: Sequence[InstanceMask], labels: Sequence[str], size: tuple[int, int]) -> bytes:
    """A ZIP of a 1-bit PNG for each object, white where it is: `001-person.png`.

    Raises:
        ValueError: there are not as many masks as labels.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for number, (mask, label) in enumerate(zip(masks, labels, strict=True), 1):
            archive.writestr(zipfile.ZipInfo(member_name(number, label), _ZIP_TIME), _bilevel_png(mask, size))
    return file.getvalue()


def member_name(number: int, label: str) -> str:
    """The name of an object's mask in `masks.zip`: ASCII letters, digits and dashes only, whatever the label is."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain)[:_NAME_LENGTH].strip("-") or "object"
    return f"{number:03d}-{name}.png"


def coco_json(
    masks: Sequence[InstanceMask], detections: Sequence[Detection], size: tuple[int, int], filename: str = ""
) -> bytes:
    """The objects as COCO annotations (https://cocodataset.org/#format-data) with RLE masks, one image of id 1.

    `bbox` is left, top, width and height of the detection's box in pixels, `area` the mask's number of pixels.
    `category_id` is the class id of the result document.

    Raises:
        ValueError: there are not as many masks as detections, or a detection has no RLE.
    """
    height, width = size
    annotations: list[dict[str, Any]] = []
    for number, (mask, found) in enumerate(zip(masks, detections, strict=True), 1):
        if found.mask is None:
            raise ValueError(f"object {number} ({found.label}) has no mask")
        left, top, right, bottom = found.box
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": found.class_id,
                "segmentation": {"size": [height, width], "counts": found.mask.counts},
                "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                "area": mask.area,
                "iscrowd": 0,
                "score": found.score,
            }
        )
    categories = {found.class_id: found.label for found in detections}
    document = {
        "images": [{"id": 1, "width": width, "height": height, "file_name": filename}],
        "annotations": annotations,
        "categories": [{"id": class_id, "name": label} for class_id, label in sorted(categories.items())],
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _bilevel_png(mask: InstanceMask, size: tuple[int, int]) -> bytes:
    """A PNG of one bit a pixel. Written here: libraries take a byte a pixel, and several times as long."""
    height, width = size
    rows, columns = mask.pixels.shape
    first, shift = divmod(mask.left, 8)
    packed = np.packbits(np.pad(mask.pixels, ((0, 0), (shift, 0))), axis=1)
    lines = np.zeros((height, 1 + math.ceil(width / 8)), np.uint8)  # each begins with its filter: none
    if columns:
        lines[mask.top : mask.top + rows, 1 + first : 1 + first + packed.shape[1]] = packed
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(lines.tobytes(), _COMPRESSION)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _artifact(
    name: str, content_type: str, data: bytes, width: int | None = None, height: int | None = None
) -> tuple[Artifact, bytes]:
    return Artifact(name=name, content_type=content_type, bytes=len(data), width=width, height=height), data
