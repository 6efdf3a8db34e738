"""Photos a second, and how long each takes, of this service and of the same model behind BentoML and LitServe.

    make bench            # or: .venv-bench/bin/python -m bench.serving --photo dog.jpg --weights DIR

Starts all three on free ports of this machine, each with one process that holds the model and takes as many threads for
it as a worker of ours (`--processes 2`: two that share the cores), and sends photos from 1, 8 and 32 clients, in turns,
so that a noisy moment hits all. A client waits for the answer before it sends the next photo. All decode, detect, draw
and encode; ours stores the upload and the results besides, so that nothing is lost, and tells the answer from what it
stored.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report import Table, machine
from bench.stand_in import stand_in

ROOT = Path(__file__).resolve().parent.parent
BOUNDARY = "0123456789abcdef0123456789abcdef"
CLIENTS = (1, 8, 32)


@dataclass
class Server:
    """A server to measure."""

    name: str
    port: int
    path: str
    form: str
    """name of the field of the photo"""
    ready: Callable[[dict[str, Any]], bool]
    """whether an answer is a real one"""


@dataclass
class Figures:
    """What was measured with a number of clients."""

    seconds: float = 0
    times: list[float] = field(default_factory=list)
    refused: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.times) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the answers came."""
        return statistics.quantiles(self.times, n=100, method="inclusive")[round(share * 100) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the model's files")
    parser.add_argument("--model", default="yolo-fastest-1.1-xl", help="without its .weights: random ones at 416x416")
    parser.add_argument("--seconds", type=float, default=5, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="with the model, of each server; they share the cores")
    options = parser.parse_args()
    photo = options.photo.read_bytes()
    figures: dict[tuple[str, int], Figures] = {}
    about = machine("openvino", "bentoml", "litserve")
    with ExitStack() as stack:
        if not (options.weights / f"{options.model}.weights").exists():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            os.environ["CATALOG"] = str(stand_in(options.model, options.weights, folder, 416))
            options.weights, about = folder, f"{about}, {options.model} with random weights"
        servers = [stack.enter_context(start(options)) for start in (_dropsight, _bentoml, _litserve)]
        for server in servers:
            _wait_until_it_answers(server, photo)
        for turn in range(options.turns):
            for clients in CLIENTS:
                for server in servers:
                    print(f"turn {turn + 1}: {server.name}, {clients} clients", file=sys.stderr)
                    _measure(
                        server, photo, clients, options.seconds, figures.setdefault((server.name, clients), Figures())
                    )
    names = [server.name for server in servers]
    _print(about, figures, names)


def _print(about: str, figures: dict[tuple[str, int], Figures], names: list[str]) -> None:
    print(about)
    table = Table("clients", "server", "photos/s", "of ours", "p50 ms", "p99 ms", "refused")
    for clients in CLIENTS:
        ours = figures[names[0], clients].rate
        for name in names:
            of = figures[name, clients]
            table.row(
                clients,
                name,
                f"{of.rate:.1f}",
                f"{of.rate / ours:.2f}",
                f"{of.percentile(0.5) * 1000:.0f}",
                f"{of.percentile(0.99) * 1000:.0f}",
                of.refused,
            )
    print(table)


# -- clients


_numbers = iter(range(10**9))
_lock = threading.Lock()


def _body(server: Server, photo: bytes) -> bytes:
    """A form with the photo, and a comment behind its end: no two are alike, so nothing comes from a cache."""
    with _lock:
        number = next(_numbers)
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{server.form}"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo + number.to_bytes(8, "big") + f"\r\n--{BOUNDARY}--\r\n".encode()


def _ask(connection: http.client.HTTPConnection, server: Server, photo: bytes) -> bool:
    """Send a photo, take the answer; whether it is one."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", server.path, _body(server, photo), headers)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status == 200 and server.ready(json.loads(data))


def _measure(server: Server, photo: bytes, clients: int, seconds: float, figures: Figures) -> None:
    begin = time.perf_counter()
    end = begin + seconds
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                done = _ask(connection, server, photo)
            except (OSError, http.client.HTTPException):
                done = False
                connection.close()
            with lock:
                if done:
                    figures.times.append(time.perf_counter() - start)
                else:
                    figures.refused += 1
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures.seconds += time.perf_counter() - begin


def _wait_until_it_answers(server: Server, photo: bytes) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            if _ask(connection, server, photo):
                return
        except (OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.5)
    raise SystemExit(f"{server.name} does not answer")


# -- servers


def _dropsight(options: argparse.Namespace) -> Any:  # noqa: ANN401
    port = _free_port()
    command = [sys.executable, "-m", "standalone"]
    server = Server("Dropsight", port, "/upload?wait=60", "file", lambda answer: answer.get("state") == "finished")
    return _started(server, command, options, {"PORT": str(port), "RATE_LIMIT": "1000000/second"})


def _bentoml(options: argparse.Namespace) -> Any:  # noqa: ANN401
    port = _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "bench.servers.bentoml_app:Photos", "--host", "127.0.0.1"]
    server = Server("BentoML", port, "/look", "photo", lambda answer: "result" in answer)
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}
    return _started(server, [*command, "--port", str(port)], options, quiet)


def _litserve(options: argparse.Namespace) -> Any:  # noqa: ANN401
    port = _free_port()
    server = Server("LitServe", port, "/predict", "photo", lambda answer: "result" in answer)
    return _started(server, [sys.executable, "-m", "bench.servers.litserve_app", str(port)], options, {})


@contextmanager
def _started(server: Server, command: list[str], options: argparse.Namespace, more: dict[str, str]) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        environment = os.environ | {
            "DATA_DIR": f"{folder}/data",
            "WEIGHTS_DIR": str(options.weights),
            "DEFAULT_MODEL": options.model,
            "BENCH_MODEL": options.model,
            "REDIS_URL": "",
            "STORAGE_URL": "",
            "WORKERS": str(options.processes),
            **more,
        }
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                yield server
            finally:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                with suppress(ProcessLookupError):  # some leave their children behind
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
