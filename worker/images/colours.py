"""From what a picture stores to the RGB that it shows: transparency, 16 bits, floats."""

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from worker.images.profiles import profile_of, to_srgb


def to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """The picture in mode RGB and in sRGB's colours; adds notes of what was assumed."""
    if image.mode.startswith("I;16"):
        return _grey_from_integers(image, notes)
    if image.mode in ("I", "F"):
        return _grey_from_numbers(image, notes)
    profile = profile_of(image)
    if image.mode == "CMYK":
        return to_srgb(image, profile, notes) or image.convert("RGB")
    if image.has_transparency_data:
        image = _on_white(image.convert("RGBA"), notes)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if profile is None or image.mode == "L":
        return rgb
    return to_srgb(rgb, profile, notes) or rgb


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
