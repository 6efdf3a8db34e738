"""BentoML: `bentoml serve bench.servers.bentoml_app:Photos`. As many processes hold the model as we have workers."""

from pathlib import Path
from typing import Any

import bentoml

from bench.servers.looking import Looker
from shared.settings import get_settings


# one thread: a session of OpenVINO is not for several at once
@bentoml.service(workers=get_settings().workers, threads=1, traffic={"timeout": 60})
class Photos:
    """The service."""

    def __init__(self) -> None:
        self.looker = Looker()

    @bentoml.api  # type: ignore[untyped-decorator]
    def look(self, photo: Path) -> dict[str, Any]:
        """`POST /look` with a form field `photo`."""
        return self.looker.look(photo.read_bytes())
