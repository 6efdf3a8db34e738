"""What more workers bring for one long video, through queue and storage; and what photos wait for meanwhile.

    python -m bench.video_workers --data ../shared/data
    python -m bench.video_workers --data ../shared/data --workers 2 --photos --seconds 600

Each worker has one thread for the model and is pinned to a core of its own. Everything is real: a Redis of its own, the
workers, a folder store. The longest part is read from the workers' logs. On a machine that others use, too, look at the
CPU time of the worker that has most of it: with its core to itself it would take as many seconds.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.report import Table, machine
from bench.videos import MODEL, loop
from shared.jobs import InputFile, JobOptions, JobRequest, JobState, input_key, new_job_id, result_key
from shared.queue import Fleet, JobQueue, connect
from shared.settings import ROOT, Settings
from shared.storage import Storage, open_storage
from shared.videos import VideoOptions, VideoResult
from tests.conftest import make_redis_server

START_SECONDS = 120
#: seconds between two photos
PAUSE = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--video", default="one-by-one-person-detection.mp4")
    parser.add_argument("--seconds", type=float, default=None, help="the video again and again, until it is so long")
    parser.add_argument("--workers", default="1,2", help="numbers of workers, apart by commas")
    parser.add_argument("--photos", action="store_true", help=f"drop a photo every {PAUSE:g} seconds")
    options = parser.parse_args()
    print(machine("av", "openvino", "rq"))
    columns = (
        *("workers", "frames", "parts", "seconds", "frames/s", "times as fast", "CPU of the busiest, s"),
        *("times less", "join, s", "peak MB of a worker"),
    )
    photo_columns = ("photos", "waited, median s", "at most, s", "longest part, s") if options.photos else ()
    table = Table(*columns, *photo_columns)
    first: tuple[float, float] | None = None
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        video = options.data / "videos" / options.video
        if options.seconds is not None:
            video = loop(video, Path(name) / "long.mp4", options.seconds)
        for workers in map(int, options.workers.split(",")):
            run = _Run(Path(name) / str(workers), options.data, workers)
            try:
                cells, seconds, busiest = run.measure(video, photos=options.photos)
            finally:
                run.end()
            first = first or (seconds, busiest)
            ratios = f"{first[0] / seconds:.2f}", f"{busiest:.1f}", f"{first[1] / busiest:.2f}"
            table.row(workers, *cells[:4], *ratios, *cells[4:])
    print(table)


class _Run:
    def __init__(self, folder: Path, data: Path, workers: int) -> None:
        folder.mkdir()
        self._folder, self._data = folder, data
        self._server = make_redis_server(folder / "redis")
        self._server.start()
        settings = {
            "REDIS_URL": self._server.url,
            "DATA_DIR": str(folder / "data"),
            "ENGINE_CACHE_DIR": str(folder.parent / "engine-cache"),
            "WEIGHTS_DIR": str(data / "weights"),
            "CATALOG": str(ROOT / "weights" / "catalog.toml"),
            "DEFAULT_MODEL": MODEL,
            "THREADS": "1",
        }
        self._settings = Settings(redis_url=self._server.url, data_dir=folder / "data")
        self._redis = connect(self._server.url, patient=True)
        self._jobs = JobQueue(self._redis, self._settings)
        self._storage: Storage = open_storage(self._settings)
        self._storage.prepare()
        self._workers = [
            subprocess.Popen(
                ["taskset", "-c", str(core % (os.cpu_count() or 1)), sys.executable, "-m", "worker"],
                cwd=ROOT,
                env=os.environ | settings,
                stdout=subprocess.DEVNULL,
                stderr=(folder / f"worker-{core}.log").open("wb"),
            )
            for core in range(workers)
        ]
        end = time.monotonic() + START_SECONDS
        while sum(worker.ready for worker in Fleet(self._redis).workers()) < workers:
            if time.monotonic() > end:
                raise SystemExit("the workers do not start")
            time.sleep(0.2)

    def measure(self, video: Path, *, photos: bool) -> tuple[list[str], float, float]:
        """The cells of a row without ratios, the seconds that the video took, and CPU seconds of the busiest worker."""
        begin, before = time.perf_counter(), [self._cpu(worker) for worker in self._workers]
        job_id = self._submit(video, ".mp4", "video/mp4", VideoOptions())
        dropped: list[str] = []
        next_photo = begin + PAUSE
        while not self._ended(job_id):
            if photos and time.perf_counter() >= next_photo:
                next_photo += PAUSE
                dropped.append(self._submit(self._data / "photos" / "dog.jpg", ".jpg", "image/jpeg", None))
            time.sleep(0.02)
        seconds = time.perf_counter() - begin
        busiest = max(self._cpu(worker) - cpu for worker, cpu in zip(self._workers, before, strict=True))
        while not all(map(self._ended, dropped)):
            time.sleep(0.1)
        result = VideoResult.from_json(self._storage.get(result_key(job_id, "result.json")))
        logs = "".join(path.read_text() for path in self._folder.glob("worker-*.log"))
        parts = [float(found) for found in re.findall(r"part \d+ of video .*?, ([\d.]+) s", logs)]
        cells = [str(result.analysed), str(len(parts)), f"{seconds:.1f}", f"{result.analysed / seconds:.1f}"]
        cells += [f"{result.timings_ms['join'] / 1000:.1f}", f"{max(map(self._peak, self._workers)):.0f}"]
        if photos:
            waited = sorted(self._waited(photo) for photo in dropped)
            cells += [str(len(waited)), f"{waited[len(waited) // 2]:.2f}", f"{waited[-1]:.2f}", f"{max(parts):.2f}"]
        return cells, seconds, busiest

    def _submit(self, path: Path, ending: str, content_type: str, video: VideoOptions | None) -> str:
        job_id = new_job_id()
        key = input_key(job_id, ending)
        data = path.read_bytes()
        self._storage.put(key, data, content_type)
        file = InputFile(
            key=key,
            filename=path.name,
            content_type=content_type,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        request = JobRequest(
            id=job_id,
            input=file,
            model=MODEL,
            options=JobOptions(),
            video=video,
            cache_key=job_id,
            created_at=datetime.now(UTC),
        )
        self._jobs.submit([request])
        return job_id

    def _ended(self, job_id: str) -> bool:
        record = self._jobs.get(job_id)
        if record is None or record.state in (JobState.FAILED, JobState.CANCELED):
            raise SystemExit(f"{job_id}: {record}")
        return record.state is JobState.FINISHED

    def _waited(self, job_id: str) -> float:
        record = self._jobs.get(job_id)
        assert record is not None
        assert record.finished_at is not None
        return (record.finished_at - record.request.created_at).total_seconds()

    def _peak(self, worker: "subprocess.Popen[bytes]") -> float:
        """The most memory that the process with the model has had, in MB."""
        found = [re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text()) for process in _children(worker)]
        return max(int(each[1]) / 1024 for each in found if each is not None)

    def _cpu(self, worker: "subprocess.Popen[bytes]") -> float:
        """Seconds of CPU that the processes of a worker have had."""
        ticks = 0
        for process in (Path(f"/proc/{worker.pid}"), *_children(worker)):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(30)
        self._redis.close()
        self._server.kill()


def _children(worker: "subprocess.Popen[bytes]") -> list[Path]:
    return [Path(f"/proc/{pid}") for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]


if __name__ == "__main__":
    main()
