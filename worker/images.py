"""From the bytes of a picture to an upright array of RGB pixels, or to an honest refusal.

Everything here comes from strangers. What is too large is refused by its header, before memory for its pixels
is taken; whatever else a decoder raises becomes `bad_image`. Only running out of memory is passed on: that is
no verdict on the picture.

Plain JPEGs are decoded by libjpeg-turbo itself (in two thirds of the time that OpenCV takes, to the same pixels),
odd ones by OpenCV, everything else by Pillow. libjpeg fills the missing half of a cut-off JPEG with grey and only warns
of it, therefore `_check_jpeg` looks for the end of the picture first.
"""

import hashlib
import re
import struct
import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import cv2
import numpy as np
import pillow_heif
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, MpoImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag

from shared.errors import BadInputError

Pixels = NDArray[np.uint8]

#: Pillow's names of the formats that are tried (JPEG stands for MPO too). Icons and JPEG 2000 are left out on
#: purpose: Pillow decodes an icon while it opens it, before a limit can be set, and JPEG 2000 takes 12 bytes
#: and more for a pixel.
FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "PPM")
_MAGIC: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II[\x2a\x2b]\0|MM\0[\x2a\x2b]|....ftyp|P[1-7f][\s#]", re.DOTALL
)

#: an annotated JPEG can be no wider and no higher
MAX_SIDE: Final = 65_500
#: counting further would let a file of empty frames hold a worker
MAX_FRAMES_COUNTED: Final = 10_000
#: a progressive JPEG with more passes over its pixels than this is an attack on the worker's time
MAX_JPEG_SCANS: Final = 200
MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024

pillow_heif.register_heif_opener()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture as it is meant to be seen.

    Attributes:
        pixels: (height, width, 3), RGB, uint8, C-contiguous, upright.
        format: the decoder's name of the format, for instance JPEG.
        frames: frames or pages in the file, `MAX_FRAMES_COUNTED` at most; `pixels` is the first.
        notes: what a person should know, in plain sentences.
    """

    pixels: Pixels
    format: str
    frames: int
    notes: tuple[str, ...]


def decode_image(data: bytes | Path | BinaryIO, *, max_pixels: int, max_aspect: int) -> DecodedImage:
    """Decode the first frame of a picture.

    Args:
        data: the file: its bytes, its path, or itself opened in binary mode.
        max_pixels: more are refused.
        max_aspect: long side divided by short side; more is refused.

    Raises:
        BadInputError: `bad_image`, `too_many_pixels` or `bad_aspect`.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    elif not isinstance(data, bytes):
        data = data.read()
    if not data:
        raise BadInputError("bad_image", "The file is empty.")
    _prepare_pillow(max_pixels)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return _decode(image, data, max_pixels, max_aspect)
    except (BadInputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a decoder makes of hostile bytes
        _refuse(error, data, max_pixels)


def _decode(image: Image.Image, data: bytes, max_pixels: int, max_aspect: int) -> DecodedImage:
    _check_size(image.size, max_pixels, max_aspect)
    notes: list[str] = []
    frames = _count_frames(image, data, notes)
    file_format = image.format or ""
    if file_format in ("JPEG", "MPO"):
        _check_jpeg(data)
    if file_format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not _needs_profile(image):
        pixels = _decode_jpeg(data, image.size)
    else:
        image.load()
        _check_size(image.size, max_pixels, max_aspect)  # HEIC knows better once decoded
        pixels = np.asarray(_to_rgb(image, notes))
    pixels = _upright(pixels, _orientation(image))
    return DecodedImage(np.ascontiguousarray(pixels), file_format, frames, tuple(notes))


# -- refusing


def _check_size(size: tuple[int, int], max_pixels: int, max_aspect: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadInputError("bad_image", "The picture has no pixels.")
    if width * height > max_pixels:
        raise BadInputError(
            "too_many_pixels",
            f"The picture has {width} x {height} pixels; {_millions(max_pixels)} pixels are the limit.",
        )
    if max(size) > max_aspect * min(size):
        raise BadInputError(
            "bad_aspect",
            f"The picture has {width} x {height} pixels; its long side may be {max_aspect} times its short side.",
        )
    if max(size) > MAX_SIDE:
        raise BadInputError(
            "too_many_pixels", f"The picture has {width} x {height} pixels; a side may have {MAX_SIDE}."
        )


def _millions(pixels: int) -> str:
    return f"{pixels / 1e6:g} million" if pixels >= 1_000_000 else str(pixels)


def _refuse(error: Exception, data: bytes, max_pixels: int) -> NoReturn:
    """Say in public words what a decoder's exception means."""
    if isinstance(error, Image.DecompressionBombError):
        raise BadInputError(
            "too_many_pixels", f"The picture has more than the {_millions(max_pixels)} pixels that are the limit."
        ) from error
    said = str(error).lower()
    if "out of memory" in said or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem):
        raise MemoryError from error
    if isinstance(error, EOFError) or "truncated" in said or "end of file" in said:
        raise BadInputError("bad_image", _CUT_SHORT) from error
    if isinstance(error, UnidentifiedImageError) and not _MAGIC.match(data):
        raise BadInputError(
            "bad_image",
            "This is not a picture that can be read: JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC and PNM can.",
        ) from error
    raise BadInputError("bad_image", "The picture is damaged: it cannot be decoded.") from error


_CUT_SHORT: Final = "The picture is cut short: its file ends before its pixels do."

#: Pillow warns of odd bytes in files; those are neither ours nor to be mended
_QUIET: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_pillow_lock = threading.Lock()


def _prepare_pillow(max_pixels: int) -> None:
    """Set Pillow's two process-wide switches, in one direction only, so that threads cannot undo each other's.

    Its own limit on pixels is the second net, for what lies below the size in the header (a TIFF's tiles, a
    GIF's frames): it must not be tighter than ours. Its warnings are never shown, nor turned into errors.
    """
    with _pillow_lock:
        if (Image.MAX_IMAGE_PIXELS or 0) < max_pixels:
            Image.MAX_IMAGE_PIXELS = max_pixels
        if not warnings.filters or warnings.filters[0] != _QUIET:
            warnings.filterwarnings("ignore", module=r"PIL\.")


# -- JPEG

#: a marker inside or after the compressed pixels: neither a stuffed byte, nor a restart, nor a fill byte
_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
_SOS: Final = 0xDA
_EOI: Final = 0xD9


def _check_jpeg(data: bytes) -> None:
    """Walk from marker to marker until the picture ends.

    Raises:
        BadInputError: the file ends first, or the picture is painted over more than `MAX_JPEG_SCANS` times.
    """
    at, scans = 2, 0
    while found := _MARKER.search(data, at):
        marker = found[1][0]
        at = found.end()
        if marker == _EOI and scans:
            return
        if marker in (0x01, 0xD8, _EOI):  # these have no length
            continue
        if marker == _SOS:
            scans += 1
            if scans > MAX_JPEG_SCANS:
                raise BadInputError("bad_image", f"The JPEG is stored in more than {MAX_JPEG_SCANS} scans.")
        at += int.from_bytes(data[at : at + 2], "big")
    raise BadInputError("bad_image", _CUT_SHORT)


def _decode_jpeg(data: bytes, size: tuple[int, int]) -> Pixels:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        pixels = simplejpeg.decode_jpeg(data, "RGB") if (width, height) == size else None
    except (
        ValueError
    ):  # also for odd bytes that libjpeg only warns of, which are in many a good photo: OpenCV takes them
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    # a header that is read in another way than Pillow did has passed no limit
    if pixels is None or pixels.shape != (size[1], size[0], 3):
        raise BadInputError("bad_image", "The picture is damaged: it cannot be decoded.")
    return np.asarray(pixels, np.uint8)


# -- frames


def _count_frames(image: Image.Image, data: bytes, notes: list[str]) -> int:
    """How many frames, pages or pictures the file has; adds a note if more than one."""
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


# -- colours


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _grey_from_integers(image, notes)
    if image.mode in ("I", "F"):
        return _grey_from_numbers(image, notes)
    profile = _profile(image)
    if image.mode == "CMYK":
        return _with_profile(image, profile, notes) or image.convert("RGB")
    if image.has_transparency_data:
        image = _on_white(image.convert("RGBA"), notes)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if profile is None or image.mode == "L":
        return rgb
    return _with_profile(rgb, profile, notes) or rgb


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    lowest, highest = image.getchannel("A").getextrema()
    if lowest == 255:
        return image.convert("RGB")
    if highest == 0:
        notes.append("The picture is fully transparent; what it hides was looked at.")
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def _grey_from_integers(image: Image.Image, notes: list[str]) -> Image.Image:
    """9 to 16 bits of grey to 8. Many cameras leave the upper bits unused: such a picture would be black."""
    values = np.asarray(image).astype(np.uint16, copy=False)
    bits, white_is_zero = 16, False
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        bits = int(tags.get(ExifTag.BitsPerSample, (16,))[0])
        white_is_zero = tags.get(ExifTag.PhotometricInterpretation) == 0
    top, brightest = (1 << bits) - 1, int(values.max())
    if 0 < brightest <= top // 16 and not white_is_zero:
        notes.append(f"Its brightest value is {brightest} of {top}; it was brightened to be seen.")
        top = brightest
    table = np.minimum((np.arange(65536, dtype=np.uint32) * 255 + top // 2) // top, 255).astype(np.uint8)
    grey = table[values]
    return Image.fromarray(255 - grey if white_is_zero else grey).convert("RGB")


def _grey_from_numbers(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey as 32-bit integers or floats, whose black and white no file states."""
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.format == "PPM" and image.mode == "I":
        low, high = 0.0, 65535.0  # Pillow brings the file's own maximum to this
    elif low >= 0 and high <= 1 and image.mode == "F":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    else:
        notes.append(f"Its values from {low:g} to {high:g} were taken as black to white.")
    # in halves, so that the largest floats do not overflow when subtracted
    span = (high / 2 - low / 2) or 1.0
    grey = np.clip((values / 2 - low / 2) / span, 0, 1) * 255
    return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")


# -- colour profiles

_PROFILE_SPACES: Final = {"RGB": "RGB", "CMYK": "CMYK"}
_MAX_TRANSFORMS: Final = 8
_transforms: OrderedDict[tuple[str, bytes], ImageCms.ImageCmsTransform | None] = OrderedDict()
_transforms_lock = threading.Lock()


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def _needs_profile(image: Image.Image) -> bool:
    """Whether the colours change in sRGB: not for most JPEGs, which carry sRGB itself."""
    profile = _profile(image)
    return profile is not None and image.mode != "L" and not _is_srgb(profile)


def _is_srgb(profile: bytes) -> bool:
    """By its description, as no two makers write the same bytes."""
    head = profile[:4096]
    return b"sRGB" in head or "sRGB".encode("utf-16-be") in head


def _with_profile(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image | None:
    """The image in sRGB, or None if there is no usable profile (of which a note is taken)."""
    if profile is None:
        return None
    if image.mode == "RGB" and _is_srgb(profile):
        return image
    try:
        transform = _transform(image.mode, profile)
        if transform is not None:
            return ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        pass
    notes.append("Its colour profile cannot be used; its colours were taken as they are.")
    return None


def _transform(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB; a few are kept, as a camera's is always the same and takes 4 ms to read."""
    key = (mode, hashlib.sha256(profile).digest())
    with _transforms_lock:
        if key in _transforms:
            _transforms.move_to_end(key)
            return _transforms[key]
    transform = _build_transform(mode, profile)
    with _transforms_lock:
        _transforms[key] = transform
        if len(_transforms) > _MAX_TRANSFORMS:
            _transforms.popitem(last=False)
    return transform


def _build_transform(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    if len(profile) > MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


# -- orientation


def _orientation(image: Image.Image) -> int:
    """EXIF's or XMP's, 1 to 8; 1 if there is none that can be read. TIFF, HEIC: Pillow has applied it."""
    try:
        value = image.getexif().get(ExifTag.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- broken EXIF never fails a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    match orientation:
        case 2:
            turned = cv2.flip(pixels, 1)
        case 3:
            turned = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(pixels, 0)
        case 5:
            turned = cv2.transpose(pixels)
        case 6:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
        case 8:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return pixels
    return turned.astype(np.uint8, copy=False)
