"""What the service stands: many clients upload small photos at once, and every accepted id is asked for in the end.

    MAX_QUEUE=20000 MAX_QUEUE_PER_CLIENT=20000 RATE_LIMIT=off DEFAULT_MODEL=yolo-fastest-1.1 make run
    python -m bench.load --photo dog.jpg               # 10,000 uploads from 50 clients, as fast as they are taken
    python -m bench.load --photo dog.jpg --soak 30     # 30 minutes; each client waits for its job before the next one

The photo is made small first, and each upload has bytes of its own (a comment in the JPEG), so that none is answered
from the cache. Memory is that of the processes below the supervisor of `--data-dir`, as the kernel counts it: in PSS,
pages that processes share are divided among them, also with programs that are none of the service's; the anonymous part
of it is what a leak would make grow. Clients and service share the machine, and the clients take their part of it. The
exit status is 1 if a job was lost or failed, or an upload refused.
"""

import argparse
import http.client
import io
import json
import statistics
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from PIL import Image

from shared.settings import ROOT

SIDE = 320
QUALITY = 80
ENDED = frozenset({"finished", "failed", "canceled"})
LOST = "lost"
STUCK = "not ended"
#: seconds that a job may take to end from when it is asked for
PATIENCE = 600.0
#: seconds after which a connection that was not used is opened anew
IDLE_SECONDS = 15.0
SAMPLE_SECONDS = 2.0
#: samples that a figure is the median of
SAMPLES = 5
ROWS = 10
MIB = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:5000")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--uploads", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="upload for so long instead")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data", help="DATA_DIR of the service")
    options = parser.parse_args()
    load = Load(options.url, small_jpeg(options.photo))
    with Memory(options.data_dir / "run" / "supervisord.pid") as memory, ThreadPoolExecutor(options.clients) as pool:
        before, begin = load.finished(), time.monotonic()
        if options.soak:
            until = begin + options.soak * 60
            clients = [pool.submit(load.soak, until) for _ in range(options.clients)]
        else:
            parts = [options.uploads // options.clients] * options.clients
            parts[0] += options.uploads % options.clients
            clients = [pool.submit(load.flood, part) for part in parts]
        for client in clients:
            client.result()
        uploaded = time.monotonic() - begin
        meanwhile = load.finished() - before
        for state in pool.map(load.end_of, [job_id for job_id in load.accepted if job_id not in load.ends]):
            load.states[state] += 1
        took = time.monotonic() - begin
    accepted = len(load.accepted)
    print(f"{options.clients} clients, {len(load.jpeg)} bytes a photo")
    print(f"accepted {accepted} in {uploaded:.1f} s: {accepted / uploaded:.1f} a second, ", end="")
    print(f"while workers finished {meanwhile / uploaded:.1f} a second; all ended after {took:.1f} s")
    print("refused:", ", ".join(f"{count} {reason}" for reason, count in load.refused.items()) or "none")
    print("ended:", ", ".join(f"{count} {state}" for state, count in load.states.items()))
    cuts = statistics.quantiles(load.times, n=100)
    print(f"answer of an upload: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, ", end="")
    print(f"longest {max(load.times) * 1000:.0f} ms\n")
    memory.report()
    if load.refused or load.states.keys() - {"finished"}:
        raise SystemExit(1)


def small_jpeg(photo: Path) -> bytes:
    """The photo with its long side at `SIDE` pixels, as a JPEG."""
    with Image.open(photo) as image:
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def distinct(jpeg: bytes) -> bytes:
    """The same picture in other bytes: with a comment segment (ITU-T T.81, B.2.4.5) behind the start of the image."""
    comment = uuid.uuid4().bytes
    return jpeg[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + jpeg[2:]


class Load:
    """The clients, and what became of what they sent.

    Args:
        url: of the service.
        jpeg: the photo.
    """

    def __init__(self, url: str, jpeg: bytes) -> None:
        self.jpeg = jpeg
        #: seconds until the answer of each upload that was accepted
        self.times: list[float] = []
        self.accepted: list[str] = []
        self.refused: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        #: jobs whose end is known and counted in `states`
        self.ends: set[str] = set()
        self._address = urlsplit(url)
        self._lock = threading.Lock()
        self._own = threading.local()

    def flood(self, uploads: int) -> None:
        """One client that uploads so many photos, one after the other."""
        for _ in range(uploads):
            self._upload()

    def soak(self, until: float) -> None:
        """One client that waits for the end of each job before the next upload, up to a moment."""
        while time.monotonic() < until:
            job_id = self._upload()
            if job_id is None:
                time.sleep(1)
                continue
            state = self.end_of(job_id)
            with self._lock:
                self.ends.add(job_id)
                self.states[state] += 1

    def end_of(self, job_id: str) -> str:
        """The state that a job ends in."""
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            status, body = self._ask("GET", f"/jobs/{job_id}?wait=10")
            if status == 404:
                return LOST
            if status in (200, 202) and body["state"] in ENDED:
                return str(body["state"])
        return STUCK

    def finished(self) -> int:
        """Jobs that the service knows to be finished."""
        with self._request("GET", "/metrics") as answer:
            lines = answer.read().decode().splitlines()
        line = next(line for line in lines if line.startswith('dropsight_jobs{state="finished"}'))
        return int(float(line.rpartition(" ")[2]))

    def _upload(self) -> str | None:
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="load.jpg"\r\n\r\n'
        body = head.encode() + distinct(self.jpeg) + f"\r\n--{boundary}--\r\n".encode()
        begin = time.monotonic()
        try:
            status, answer = self._ask("POST", "/upload", body, f"multipart/form-data; boundary={boundary}")
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.refused[type(error).__name__] += 1
            return None
        took = time.monotonic() - begin
        with self._lock:
            if status != 202:
                self.refused[f"{status} {answer['error']['code']}"] += 1
                return None
            self.times.append(took)
            self.accepted.append(answer["id"])
        return str(answer["id"])

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, dict[str, Any]]:
        with self._request(method, path, body, kind) as answer:
            return answer.status, json.loads(answer.read())

    def _request(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> http.client.HTTPResponse:
        """Over this thread's own connection, which stays open."""
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=60)
            self._own.connection = connection
        if time.monotonic() - getattr(self._own, "used", 0.0) > IDLE_SECONDS:
            connection.close()  # the service has, or is about to
        self._own.used = time.monotonic()
        try:
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise


@dataclass(slots=True)
class Sample:
    """Bytes of memory of each kind of process at a moment."""

    at: float
    anonymous: Counter[str] = field(default_factory=Counter)
    pss: Counter[str] = field(default_factory=Counter)
    rss: Counter[str] = field(default_factory=Counter)


class Memory:
    """Looks at the memory of a service now and then, in a thread. A context manager.

    Args:
        pid_file: of its supervisor.
    """

    def __init__(self, pid_file: Path) -> None:
        self._root = int(pid_file.read_text())
        self._samples: list[Sample] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def report(self) -> None:
        """Print how it went, and by how much it grew in the last half."""
        kinds = sorted({kind for sample in self._samples for kind in sample.pss})
        print(f"| anonymous memory, MB, after | {' | '.join(kinds)} |\n| --- |{' ---: |' * len(kinds)}")
        last = len(self._samples) - 1
        for row in range(ROWS + 1):
            sample = self._samples[row * last // ROWS]
            print(f"| {sample.at:.0f} s | {' | '.join(f'{sample.anonymous[kind] / MIB:.1f}' for kind in kinds)} |")
        growth = [(self._median(last, kind) - self._median(last // 2, kind)) / MIB for kind in kinds]
        print(f"| growth of the last half | {' | '.join(f'{each:+.1f}' for each in growth)} |")
        most_pss = [max(sample.pss[kind] for sample in self._samples) / MIB for kind in kinds]
        print(f"| most PSS | {' | '.join(f'{each:.1f}' for each in most_pss)} |")
        most_rss = [max(sample.rss[kind] for sample in self._samples) / MIB for kind in kinds]
        print(f"| most RSS | {' | '.join(f'{each:.1f}' for each in most_rss)} |")

    def _median(self, middle: int, kind: str) -> float:
        first = max(0, min(middle - SAMPLES // 2, len(self._samples) - SAMPLES))
        return statistics.median(sample.anonymous[kind] for sample in self._samples[first : first + SAMPLES])

    def _look(self) -> None:
        begin = time.monotonic()
        while True:
            sample = Sample(time.monotonic() - begin)
            for kind, pid in processes(self._root):
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:  # it has just ended
                    continue
                sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
                sample.anonymous[kind] += sizes["Pss_Anon:"]
                sample.pss[kind] += sizes["Pss:"]
                sample.rss[kind] += sizes["Rss:"]
            self._samples.append(sample)
            if self._end.wait(SAMPLE_SECONDS):
                return


def processes(root: int) -> Iterator[tuple[str, int]]:
    """The processes below one, each with what it is: redis, web, worker or models. The janitor is left out."""
    children: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children[int(fields[1])].append((int(fields[19]), int(entry.name)))  # start time, process id
    for _, pid in children[root]:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"gunicorn" in command:
            yield "web", pid
            yield from (("web", child) for _, child in children[pid])
        elif b"worker" in command:
            yield "worker", pid
            spawned = [
                (born, child)
                for born, child in children[pid]
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
            if spawned:  # the oldest has the models; the janitor is younger
                yield "models", min(spawned)[1]
        else:
            yield "redis" if b"redis" in command[0] or b"valkey" in command[0] else "other", pid


if __name__ == "__main__":
    main()
