"""The storm in a small glass; `python -m tests.stack.chaos` is the large one."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.chaos import run, storm

pytestmark = pytest.mark.stack


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ds-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_random_kills_lose_nothing(folder: Path) -> None:
    with storm(folder, workers=2, seed=2, retries=6) as weather:
        figures = run(weather, jobs=60, kills=12, sigterms=0, redis_down=0)
    assert sum(weather.done.values()) == 12
    assert figures["finished"] == 60


def test_sigterm_under_load_costs_no_attempt(folder: Path) -> None:
    with storm(folder, workers=2, seed=3, retries=2) as weather:
        figures = run(weather, jobs=60, kills=0, sigterms=6, redis_down=0)
    assert (figures["sigterm"], figures["attempts charged"]) == (6, 0)


def test_a_redis_that_was_killed_loses_nothing(folder: Path) -> None:
    with storm(folder, workers=2, seed=4, retries=2) as weather:
        figures = run(weather, jobs=60, kills=0, sigterms=0, redis_down=8)  # longer than the leases
    assert (figures["finished"], figures["attempts charged"]) == (60, 0)
