"""Parts of the trainer that need no TensorFlow. The whole of it is in tests/stack/test_training.py."""

import logging
from pathlib import Path

import pytest

from shared.errors import BadInputError, TransientError
from shared.settings import Settings
from shared.storage import Storage, Writer, open_storage
from shared.trainings import StoredDataset, folder_prefix, run_prefix
from worker.trainer.data import fetch_dataset
from worker.trainer.keeping import RunKeeper
from worker.trainer.notes import warnings_told

ID = "0" * 32


@pytest.fixture
def storage(settings: Settings) -> Storage:
    storage = open_storage(settings)
    storage.prepare()
    return storage


def write(folder: Path, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def kept(storage: Storage) -> dict[str, str]:
    prefix = run_prefix(ID)
    return {stat.key.removeprefix(prefix): storage.get(stat.key).decode() for stat in storage.list(prefix)}


def test_a_run_is_kept_and_comes_back_elsewhere(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.trainer.keeping.SHARE", 1e9)  # at once again
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, last_npz="1", m_weights="1", m_cfg="net", training_json="{}", other_txt="not ours")
    keeper = RunKeeper(storage, ID, "m", here)
    keeper.keep()
    assert kept(storage) == {"last.npz": "1", "m.weights": "1", "m.cfg": "net", "training.json": "{}"}
    order: list[str] = []
    writer = storage.writer

    def noted(key: str) -> Writer:
        order.append(key.rpartition("/")[2])
        return writer(key)

    monkeypatch.setattr(storage, "writer", noted)
    write(here, last_npz="2", m_weights="2")
    keeper.keep()
    assert order == ["m.weights", "last.npz"], "only what has changed, and the checkpoint last"
    RunKeeper(storage, ID, "m", there).restore()
    assert {path.name: path.read_text() for path in there.iterdir()} == kept(storage)
    keeper.finish()
    assert "last.npz" not in kept(storage)


def test_copies_take_a_tenth_of_the_time_at_most(storage: Storage, tmp_path: Path) -> None:
    write(tmp_path / "run", last_npz="1")
    keeper = RunKeeper(storage, ID, "m", tmp_path / "run")
    keeper.keep()
    write(tmp_path / "run", last_npz="2")
    keeper._next = float("inf")
    keeper.keep()
    assert kept(storage) == {"last.npz": "1"}


def test_a_run_goes_on_while_storage_is_away(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(key: str) -> None:
        raise TransientError("storage_down", "Storage is away.")

    write(tmp_path / "run", last_npz="1")
    keeper = RunKeeper(storage, ID, "m", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "writer", away)
        keeper.keep()
    assert kept(storage) == {}
    keeper._next = 0.0
    keeper.keep()
    assert kept(storage) == {"last.npz": "1"}


def test_a_data_set_that_is_gone(storage: Storage, tmp_path: Path) -> None:
    for key in ("datasets/x.zip", folder_prefix("x")):
        with pytest.raises(BadInputError) as error:
            fetch_dataset(StoredDataset(name="x", key=key, filename="x"), storage, tmp_path / key.strip("/"))
        assert error.value.code == "input_gone"


def test_warnings_reach_the_person_who_started_it() -> None:
    told: list[str] = []
    logger = logging.getLogger("worker.training.runs")
    with warnings_told(told.append):
        logger.warning("no weights of %s", "resnet50")
        logging.getLogger("worker.resident").warning("not of the training")
    logger.warning("afterwards")
    assert told == ["no weights of resnet50"]
