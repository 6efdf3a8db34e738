"""LitServe: `python -m bench.servers.litserve_app PORT`. As many processes hold the model as we have workers."""

import sys
from typing import Any

import litserve

from bench.servers.looking import Looker
from shared.settings import get_settings


class Photos(litserve.LitAPI):  # type: ignore[misc]
    """`POST /predict` with a form field `photo`."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Called once in the worker process."""
        self.looker = Looker()

    def decode_request(self, request: litserve.Request) -> bytes:
        """The bytes of the photo. LitServe looks at the annotation: with this one it reads the form."""
        return bytes(request["photo"].file.read())

    def predict(self, photo: bytes) -> dict[str, Any]:
        """The model's work."""
        return self.looker.look(photo)

    def encode_response(self, output: dict[str, Any]) -> litserve.Response:
        """As it is."""
        return output


if __name__ == "__main__":
    processes = get_settings().workers
    server = litserve.LitServer(Photos(), accelerator="cpu", workers_per_device=processes, timeout=60)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
