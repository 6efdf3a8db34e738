"""What became of each file, and how it is told: lines for people, or a JSON object a line."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from shared.jobs import ErrorInfo
from shared.results import ImageResult
from shared.videos import VideoResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: as it was named or found.
        result: if it was finished.
        error: otherwise.
        id: of the job, if there is one on a server.
        link: its page.
        cached: known from before.
        saved: the files that were written.
    """

    path: Path
    result: ImageResult | VideoResult | None = None
    error: ErrorInfo | None = None
    id: str = ""
    link: str = ""
    cached: bool = False
    saved: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.result is not None

    def line(self) -> str:
        """For people: the file's name, the sentence, and where to look."""
        if self.result is None:
            told = f"{self.error.message} ({self.error.code})" if self.error else "no result"
            return f"{_shown(self.path)}: failed: {told}"
        where = ", ".join(map(_shown, self.saved)) or self.link
        return f"{_shown(self.path)}: {self.result.text}" + (f"  {where}" if where else "")

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "file": _shown(self.path),
            "state": "finished" if self.result is not None else "failed",
            "id": self.id or None,
            "url": self.link or None,
            "cached": self.cached,
            "saved": [_shown(path) for path in self.saved],
            "error": self.error.model_dump() if self.error is not None else None,
            "result": self.result.model_dump(mode="json", exclude_none=True) if self.result is not None else None,
        }


def tell(outcome: Outcome, *, as_json: bool) -> None:
    """Write it: JSON and good news to the output, bad news for people to the error stream."""
    if as_json:
        _write(json.dumps(outcome.document(), ensure_ascii=False), sys.stdout)
    else:
        _write(outcome.line(), sys.stdout if outcome.ok else sys.stderr)


def remark(text: str) -> None:
    """Say something beside the results."""
    _write(text, sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    tqdm.write(text, file=stream)  # takes the bars away for the moment
    stream.flush()


def _shown(path: Path) -> str:
    """A name of any bytes as text that can be written."""
    return str(path).encode("utf-8", "replace").decode()
