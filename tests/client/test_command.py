"""The command and the library against the real service."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from client import Client, JobState, RefusedError
from client.command import main
from shared.queue import Fleet, connect
from shared.results import ImageResult
from shared.settings import ROOT
from shared.videos import VideoResult
from tests.client.odd_server import accept, answer, job, odd_server, refuse
from tests.conftest import MODEL, Live

pytestmark = pytest.mark.stack

HEAVY = {"redis", "rq", "boto3", "pydantic_settings", "flask", "numpy", "cv2", "keras", "worker", "web"}


@pytest.fixture
def photos(tmp_path: Path, data_dir: Path) -> Path:
    """A folder with two photos of one name, something else, and a broken one."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    shutil.copy(data_dir / "photos" / "dog.jpg", folder / "dog.jpg")
    shutil.copy(data_dir / "photos" / "eagle.jpg", folder / "more" / "dog.jpg")
    (folder / "notes.txt").write_text("not a photo")
    return folder


def test_a_line_for_each_file(live: Live, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(photos), "--server", live.url]) == 0
    told = capsys.readouterr()
    lines = sorted(told.out.splitlines())
    assert [line.split("  http")[0] for line in lines] == [
        f"{photos}/dog.jpg: There is a bicycle, a car, a dog and a truck in this picture.",
        f"{photos}/more/dog.jpg: There is a bird in this picture.",
    ]
    link = lines[0].split("  ")[-1]
    assert requests.get(link, timeout=10).headers["Content-Type"] == "image/jpeg"
    assert "notes.txt" in told.err


def test_json_lines_and_failures(live: Live, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = data_dir / "odd" / "images" / "truncated_image.png"
    video = ROOT / "README.md"
    good = data_dir / "photos" / "horses.jpg"
    options = ["--json", "--model", MODEL, "--score", "0.5", "--option", "max_detections=2"]
    assert main([*map(str, (broken, video, good)), "--server", live.url, *options]) == 1
    found = {item["file"]: item for item in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found[str(broken)]["error"]["code"] == "bad_image"
    assert found[str(broken)]["id"]
    assert found[str(video)]["error"]["code"] == "unsupported_type"
    result = ImageResult.model_validate(found[str(good)]["result"])
    assert result.options == {"score": 0.5, "iou": 0.45, "max_detections": 2}
    assert len(result.detections) == 2


def test_saved_files_have_names_of_their_own(live: Live, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert main([str(photos), "--server", live.url, "--save", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "dog-2-annotated.jpg",
        "dog-2-result.json",
        "dog-annotated.jpg",
        "dog-result.json",
    ]
    texts = set()
    for path in folder.glob("*.json"):
        result = ImageResult.from_json(path.read_bytes())
        size = next(artifact.bytes for artifact in result.artifacts if artifact.name == "annotated.jpg")
        assert path.with_name(path.name.replace("result.json", "annotated.jpg")).stat().st_size == size
        texts.add(result.text)
    assert len(texts) == 2


def test_what_is_wrong_for_all_is_said_once(live: Live, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, code in (["--model", "none"], "unknown_model"), (["--option", "scores=1"], "invalid_option"):
        assert main([str(photos / "dog.jpg"), "--server", live.url, *wrong]) == 2
        assert code in capsys.readouterr().err


def test_no_server_and_no_file(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with odd_server() as gone:
        pass
    begin = time.monotonic()
    assert main([str(photos), "--server", gone.url]) == 2
    assert time.monotonic() - begin < 10
    assert "Connection refused" in capsys.readouterr().err
    for wrong in ([str(tmp_path / "none.jpg")], [str(photos), "--json", "--open"], [str(photos), "--option", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main(wrong)


@pytest.mark.parametrize(
    ("started", "name"), [("/usr/bin/dropsight", "dropsight"), ("/code/client/__main__.py", "python -m client")]
)
def test_the_help_calls_it_as_it_was_started(
    started: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [started, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.startswith(f"usage: {name} ")


def test_a_key_from_the_environment(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"default": "a", "models": [], "limits": {"max_upload_mb": 1, "max_files": 1, "types": ["image/jpeg"]}}
    failed = job("failed", error={"code": "bad_image", "message": "Broken."})
    with odd_server(answer(200, models), accept(), answer(200, failed), refuse(401, "unauthorized")) as server:
        monkeypatch.setenv("DROPSIGHT_SERVER", server.url)
        monkeypatch.setenv("DROPSIGHT_API_KEY", "secret")
        assert main([str(photos / "dog.jpg")]) == 1
        assert main([str(photos / "dog.jpg")]) == 2
    assert {request.headers["Authorization"] for request in server.seen} == {"Bearer secret"}


def test_pages_are_opened(live: Live, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "client", str(photos), "--server", live.url, "--open"],
        cwd=ROOT,
        env=os.environ | {"BROWSER": str(browser)},
        check=False,
    )
    assert done.returncode == 0
    links = opened.read_text().split()
    assert len(links) == 2
    for link in links:
        assert requests.get(link, headers={"Accept": "text/html"}, timeout=10).status_code == 200


@pytest.fixture
def many(tmp_path: Path, data_dir: Path) -> Iterator[Path]:
    """A folder of 60 photos, no two alike."""
    folder = tmp_path / "many"
    folder.mkdir()
    content = (data_dir / "photos" / "kite.jpg").read_bytes()
    for number in range(60):
        (folder / f"{number}.jpg").write_bytes(content + b"%d" % number)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def no_work(live: Live) -> Iterator[None]:
    """Nothing that is sent is begun: the workers, who have nothing to do, are held."""
    with connect(f"unix://{live.data_dir}/run/redis.sock", patient=False) as redis:
        pids = [worker.pid for worker in Fleet(redis).workers()]
    assert pids
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_an_interrupt_cancels_what_was_begun(live: Live, many: Path) -> None:
    with Client(live.url) as client:
        client.submit(many / "0.jpg", score=0.333).result(60)
    before = _states(live)
    with no_work(live):
        process = subprocess.Popen(
            [sys.executable, "-m", "client", str(many), "--server", live.url, "--score", "0.333"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()  # of the photo that is known from before; the others wait
        end = time.monotonic() + 30
        while not _states(live).keys() - before.keys():
            assert time.monotonic() < end, "nothing else was sent"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert out == ""
    assert "Traceback" not in told
    canceled = int(told.split("Canceled ")[1].split()[0])
    assert canceled >= 1
    states = [state for key, state in _states(live).items() if key not in before]
    assert states == ["canceled"] * canceled, "nothing goes on"


def _states(live: Live) -> dict[str, str]:
    jobs: list[dict[str, Any]] = requests.get(f"{live.url}/jobs?limit=200", timeout=10).json()["jobs"]
    return {job["id"]: job["state"] for job in jobs}


def test_as_a_library(live: Live, data_dir: Path, tmp_path: Path) -> None:
    photo = data_dir / "photos" / "person.jpg"
    with Client(live.url) as client:
        models = client.models()
        assert next(model for model in models.models if model.name == models.default).installed
        made = client.submit(photo, model=MODEL, score=0.47)
        result = made.result(timeout=60)
        assert result.source.filename == "person.jpg"
        assert isinstance(result, ImageResult)
        assert result.detections
        assert made.state is JobState.FINISHED
        assert not made.cancel(), "it has ended"
        again = client.submit(photo, model=MODEL, score=0.47)
        assert again.cached
        assert again.id == made.id
        assert again.result() == result
        assert client.job(made.id).view.result == result
        saved = made.save(tmp_path / "new" / "folder")
        assert [path.name for path in saved] == ["person-annotated.jpg", "person-result.json"]
        assert ImageResult.from_json(saved[-1].read_bytes()) == result
        with pytest.raises(RefusedError) as caught:
            client.job("0" * 32)
        assert caught.value.code == "not_found"


def test_submit_many_and_cancel(live: Live, many: Path) -> None:
    with Client(live.url) as client:
        jobs = [made for _, made in client.submit_many(many.glob("*.jpg"), score=0.222, priority="bulk")]
        made = [job for job in jobs if not isinstance(job, Exception)]
        assert len(made) == 60
        canceled = sum(job.cancel() for job in made)
        assert canceled
        states = [job.wait(30) for job in made]
        assert states.count(JobState.CANCELED) == canceled
        assert states.count(JobState.FINISHED) == len(made) - canceled


def test_the_model_in_this_process(live: Live, photos: Path, data_dir: Path, tmp_path: Path) -> None:
    """No Redis and no web: the same result as the service's."""
    with Client(live.url) as client:
        expected = client.submit(photos / "dog.jpg").result(60)
    folder = tmp_path / "out"
    environment = {"WEIGHTS_DIR": str(live.data_dir.parent / "weights"), "DATA_DIR": str(live.data_dir)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "client", str(photos), str(data_dir / "videos" / "h265_video.mp4")),
            *("--local", "--save", str(folder), "--server", "http://x.invalid"),
        ],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = ImageResult.from_json((folder / "dog-result.json").read_bytes())
    assert isinstance(expected, ImageResult)
    assert (result.detections, result.text) == (expected.detections, expected.text)
    assert result.source.sha256 == expected.source.sha256
    video = VideoResult.from_json((folder / "h265_video-result.json").read_bytes())
    assert video.analysed == 10
    assert {artifact.name for artifact in video.artifacts} >= {"annotated.mp4", "frames.jsonl"}
    assert (folder / "h265_video-annotated.mp4").stat().st_size > 1000
    assert (folder / "dog-2-annotated.jpg").stat().st_size > 10_000


def test_local_without_the_models_files_says_so(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "client", str(photos), "--local"]
    environment = os.environ | {"WEIGHTS_DIR": str(tmp_path), "DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "make weights" in done.stderr
    done = subprocess.run(
        [*command, "--score", "7"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "score" in done.stderr


def test_it_needs_little() -> None:
    code = "import sys, client, client.command; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"client", "shared", "requests"} <= loaded
    assert not loaded & HEAVY
