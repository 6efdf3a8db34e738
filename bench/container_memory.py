"""Memory of the containers while a short and a long video go through all of them: it must not grow with the length.

    docker compose up -d --build --wait
    python -m bench.container_memory --data ../shared/data

run in the folder of the compose file, on the machine that has the engine. The long video is the short one again and
again, by packet. Before each of them the worker and the web tier are made anew. What is looked at is what cannot be
given back when memory is short: anonymous pages and tmpfs, of all processes of a container. The kernel's own peak is
beside it; it counts pages of files as well, as many as there is room for.
"""

import argparse
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.report import Table, machine
from bench.videos import loop
from client import Client, VideoResult

SERVICES: Final = ("worker", "web")
CGROUPS: Final = Path("/sys/fs/cgroup")
#: seconds between two looks; the models and codecs take their memory for longer than that
PAUSE: Final = 0.1
MIB: Final = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://localhost:5000")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--video", default="one-by-one-person-detection.mp4")
    parser.add_argument("--seconds", default="10,600", help="lengths of the video, apart by commas")
    parser.add_argument("--times", type=int, default=1, help="each is sent so often, one after the other")
    options = parser.parse_args()
    print(machine())
    table = Table("video, s", "MB", "frames", "took, s", *(f"{name}, MB" for name in SERVICES),
                  *(f"{name} with files, MB" for name in SERVICES))  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Client(options.url) as client:
        for seconds in map(float, options.seconds.split(",")):
            video = loop(options.data / "videos" / options.video, Path(folder) / f"{seconds:g}.mp4", seconds)
            compose("up", "--detach", "--wait", "--force-recreate", "--no-deps", *SERVICES)
            begin = time.monotonic()
            with Watch() as watch:
                frames = sum(send(client, video, Path(folder) / "saved") for _ in range(options.times))
            table.row(
                f"{seconds:g}", f"{video.stat().st_size / MIB:.1f}", frames, f"{time.monotonic() - begin:.0f}",
                *(f"{watch.peaks[name] / MIB:.0f}" for name in SERVICES),
                *(f"{watch.kernels_peak(name) / MIB:.0f}" for name in SERVICES),
            )  # fmt: skip
    print(table)


def send(client: Client, video: Path, folder: Path) -> int:
    """Have a video looked at, and fetch all that came of it. Returns the frames that were looked at."""
    job = client.submit(video, score=0.25 + time.time_ns() % 10**9 / 10**11)  # no earlier result is the answer
    result = job.result()
    assert isinstance(result, VideoResult)
    job.save(folder)
    return result.analysed


def compose(*arguments: str) -> str:
    done = subprocess.run(["docker", "compose", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


class Watch:
    """Looks at the memory of the containers again and again, in a thread. A context manager."""

    def __init__(self) -> None:
        self._folders = {name: memory_folder(name) for name in SERVICES}
        #: bytes of anonymous pages and tmpfs, at most
        self.peaks: dict[str, int] = defaultdict(int)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def kernels_peak(self, service: str) -> int:
        """Bytes that the container had at most, pages of files among them."""
        folder = self._folders[service]
        files = [folder / name for name in ("memory.peak", "memory.max_usage_in_bytes")]
        return next(int(file.read_text()) for file in files if file.exists())

    def _look(self) -> None:
        while not self._end.wait(PAUSE):
            for service, folder in self._folders.items():
                lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
                kinds = {name: int(size) for name, size in lines}
                # version 2 of control groups, else 1
                used = kinds["anon"] + kinds["shmem"] if "anon" in kinds else kinds["total_rss"] + kinds["total_shmem"]
                self.peaks[service] = max(self.peaks[service], used)


def memory_folder(service: str) -> Path:
    """Where the kernel counts the memory of a service's only container."""
    (container,) = compose("ps", "--quiet", service).split()
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    pid = int(subprocess.check_output(inspect, text=True))
    groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            return CGROUPS / "memory" / path.lstrip("/")
    return CGROUPS / groups[-1][2].lstrip("/")


if __name__ == "__main__":
    main()
