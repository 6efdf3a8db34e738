"""BentoML: `bentoml serve bench.servers.bentoml_app:Photos`. One process holds the model, as one of our workers."""

from pathlib import Path
from typing import Any

import bentoml

from bench.servers.looking import Looker


# one thread: a session of OpenVINO is not for several at once
@bentoml.service(workers=1, threads=1, traffic={"timeout": 60})
class Photos:
    """The service."""

    def __init__(self) -> None:
        self.looker = Looker()

    @bentoml.api  # type: ignore[untyped-decorator]
    def look(self, photo: Path) -> dict[str, Any]:
        """`POST /look` with a form field `photo`."""
        return self.looker.look(photo.read_bytes())
