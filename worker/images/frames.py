"""How many frames a file has, counted without decoding them."""

import struct
from typing import Final

from PIL import Image, MpoImagePlugin

#: counting further would let a file of empty frames hold a worker
MAX_FRAMES_COUNTED: Final = 10_000


def count_frames(image: Image.Image, data: bytes, notes: list[str]) -> int:
    """How many frames, pages or pictures the file has, 1 to `MAX_FRAMES_COUNTED`; adds a note if more than one."""
    noun = {"TIFF": "pages", "MPO": "pictures", "HEIF": "pictures"}.get(image.format or "", "frames")
    # Pillow counts these two by parsing each frame: seconds for a file of empty ones
    if image.format == "GIF":
        frames = _gif_frames(data)
    elif image.format == "TIFF":
        frames = _tiff_pages(data)
    elif isinstance(image, MpoImagePlugin.MpoImageFile):
        frames = _mpo_pictures(image)
    else:
        frames = int(getattr(image, "n_frames", 1))
    if frames >= MAX_FRAMES_COUNTED:
        frames = MAX_FRAMES_COUNTED
        notes.append(f"Only the first of more than {MAX_FRAMES_COUNTED} {noun} was looked at.")
    elif frames > 1:
        which = "main one" if noun == "pictures" else "first"
        notes.append(f"Only the {which} of {frames} {noun} was looked at.")
    return max(frames, 1)


def _gif_frames(data: bytes) -> int:
    """Image blocks of a GIF, up to the limit; a cut-off file has those that it has."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    frames = 0
    try:
        at = 13 + table(data[10])
        while frames < MAX_FRAMES_COUNTED:
            kind = data[at]
            if kind == 0x2C:
                frames += 1
                at += 11 + table(data[at + 9])
            elif kind == 0x21:
                at += 2
            elif kind == 0x3B:
                break
            else:
                at += 1
                continue
            while length := data[at]:
                at += length + 1
            at += 1
    except IndexError:
        pass
    return frames


def _tiff_pages(data: bytes) -> int:
    """Length of a TIFF's chain of directories, up to the limit; a chain that bites its tail ends there."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    first, count, link, entry = (8, "Q", "Q", 20) if big else (4, "H", "I", 12)
    count_size, seen = struct.calcsize(count), set[int]()
    try:
        (at,) = struct.unpack_from(order + link, data, first)
        while at and at not in seen and len(seen) < MAX_FRAMES_COUNTED:
            (entries,) = struct.unpack_from(order + count, data, at)
            seen.add(at)
            (at,) = struct.unpack_from(order + link, data, at + count_size + entries * entry)
    except (struct.error, OverflowError):
        pass
    return len(seen)


def _mpo_pictures(image: MpoImagePlugin.MpoImageFile) -> int:
    """Pictures in a multi-picture JPEG, without the previews that cameras put there."""
    entries = (image.mpinfo or {}).get(0xB002, [])
    kinds = [str(entry.get("Attribute", {}).get("MPType", "")) for entry in entries]
    return sum(not kind.startswith("Large Thumbnail") for kind in kinds)
