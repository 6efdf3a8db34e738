"""Files of a result in a folder of the user: names that any system takes, and nothing overwritten."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.jobs import RESULT_DOCUMENT

#: bytes of a name; systems take 255, and there is more to come behind it
LONGEST_STEM: Final = 120
#: what Windows or a shell does not take in a name, and what nobody sees
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]')
#: names that are devices on Windows, whatever ending they have
_DEVICES: Final = re.compile(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)")


def safe_stem(name: str, fallback: str) -> str:
    """What the names of saved files may begin with.

    Args:
        name: anything; of a path only its last part counts.
        fallback: for a name of which nothing is left.
    """
    last = re.split(r"[/\\]", name)[-1]
    stem = _UNSAFE.sub("_", last).encode("utf-8", "replace")[:LONGEST_STEM].decode("utf-8", "ignore")
    stem = stem.lstrip(". -").rstrip(". ")  # hidden, or taken for an option; Windows drops the latter
    if not stem.strip("_"):
        return fallback
    return f"_{stem}" if _DEVICES.match(stem) else stem


def place(files: Mapping[str, Path], folder: Path, name: str, *, fallback: str) -> list[Path]:
    """Give complete files their names in a folder, all with the same beginning that no other file there has.

    Args:
        files: by the name in the result; on the same file system as `folder`. "result.json" is among them.
        folder: where they belong.
        name: what their names shall begin with.
        fallback: for a name that cannot be one.

    Returns:
        Where they are, in their order.

    Raises:
        OSError: the folder cannot be written to.
    """
    stem = safe_stem(name, fallback)
    for number in itertools.count(1):
        begin = stem if number == 1 else f"{stem}-{number}"
        targets = {part: folder / f"{begin}-{part}" for part in files}
        claim = targets[RESULT_DOCUMENT]
        try:
            claim.touch(exist_ok=False)  # one of several threads or programs gets it
        except FileExistsError:
            continue
        if any(target.exists() for target in targets.values() if target != claim):
            claim.unlink()
            continue
        placed = [claim]
        try:
            for part, target in targets.items():
                files[part].replace(target)
                placed.append(target)
        except OSError:  # a claim that stays would look like a result
            for target in placed:
                target.unlink(missing_ok=True)
            raise
        return list(targets.values())
    raise AssertionError  # there is always a next number
