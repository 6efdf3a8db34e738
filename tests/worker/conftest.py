from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import redis

from shared.catalog import Catalog
from shared.entries import DarknetEntry, WeightFile
from shared.queue import keys
from shared.settings import Settings
from tests.worker.resident_bench import Bench
from worker.engines import select_backend

# this process is one of the default engine; what runs on another backend runs in a process of its own
select_backend("openvino", threads=1)


DetectorFiles = Callable[..., DarknetEntry]


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted models that several tests use."""
    return tmp_path_factory.mktemp("engine-cache")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a worker with folders of its own."""
    return Settings(
        data_dir=tmp_path / "data",
        weights_dir=tmp_path / "weights",
        weights_source=None,
        engine_cache_dir=tmp_path / "engine-cache",
        engine="openvino",
        precision="f32",
        threads=1,  # two would wait for each other when the machine is busy
        default_model=None,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the workers of a failed test said."""
    report = yield
    bench = getattr(item, "funcargs", {}).get("bench")
    if report.failed and isinstance(bench, Bench):
        report.sections += [(f"Worker {number}", bench.log(number)) for number in range(len(bench.workers))]
    return report


@pytest.fixture
def bench(connection: redis.Redis, redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A queue whose workers the test starts."""
    (tmp_path / "weights").mkdir()
    settings = Settings(redis_url=redis_url, data_dir=tmp_path / "data", weights_dir=tmp_path / "weights")
    bench = Bench(connection, settings, tmp_path)
    connection.set(keys.JANITOR, 1)  # his round is due never, but in the test of it
    yield bench
    bench.end()


def darknet_entry(name: str, classes: str = "coco.names", **changes: object) -> DarknetEntry:
    """An entry for the files `name`.cfg and `name`.weights."""
    return DarknetEntry.model_validate(
        {
            "name": name,
            "family": "darknet",
            "title": name,
            "config": WeightFile(name=f"{name}.cfg"),
            "weights": WeightFile(name=f"{name}.weights"),
            "classes": WeightFile(name=classes),
            "resize": "stretch",
            **changes,
        }
    )


def catalog_of(*entries: DarknetEntry) -> Catalog:
    """A catalogue of these models; the first is the default."""
    return Catalog(default=entries[0].name, models={entry.name: entry for entry in entries})
