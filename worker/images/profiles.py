"""ICC profiles: from the colours of a camera or of inks to sRGB."""

import hashlib
import threading
from collections import OrderedDict
from io import BytesIO
from typing import Final

from PIL import Image, ImageCms

#: of a profile; one with more is not read
MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
_PROFILE_SPACES: Final = {"RGB": "RGB", "CMYK": "CMYK"}
_MAX_TRANSFORMS: Final = 8
_transforms: OrderedDict[tuple[str, bytes], ImageCms.ImageCmsTransform | None] = OrderedDict()
_transforms_lock = threading.Lock()


def profile_of(image: Image.Image) -> bytes | None:
    """The profile in the file."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile else None


def needs_profile(image: Image.Image) -> bool:
    """Whether the colours change in sRGB: not for most JPEGs, which carry sRGB itself."""
    profile = profile_of(image)
    return profile is not None and image.mode != "L" and not _is_srgb(profile)


def _is_srgb(profile: bytes) -> bool:
    """By its description, as no two makers write the same bytes."""
    head = profile[:4096]
    return b"sRGB" in head or "sRGB".encode("utf-16-be") in head


def to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image | None:
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
