"""A data set from storage into a folder: a zip file, or an operator's folder, and what is wrong with it."""

import shutil
from pathlib import Path

from shared.errors import BadInputError
from shared.storage import MissingObjectError, Storage
from shared.trainings import StoredDataset
from worker.training.datasets.check import Checked, check
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.unpack import UnpackLimits, unpack


def fetch_dataset(data: StoredDataset, storage: Storage, folder: Path) -> Path:
    """Copy a data set out of storage.

    Args:
        data: which.
        storage: where it is.
        folder: of this attempt; made if it is not there.

    Returns:
        Its folder, below `folder`.

    Raises:
        BadInputError: "input_gone", or "bad_dataset": the zip file is refused, or there is too much of it.
        PublicError: storage is away.
    """
    target = folder / "data"
    if data.is_folder:
        _copy_all(data.key, storage, target)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "data.zip"
    try:
        storage.get_file(data.key, archive)
    except MissingObjectError:
        raise BadInputError("input_gone", "The data set is no longer there.") from None
    unpack(archive, target)
    archive.unlink()
    return target


def check_dataset(folder: Path) -> Checked:
    """Read and check a data set. Raises `DatasetError`: it is in no known format."""
    return check(read_dataset(folder))


def _copy_all(prefix: str, storage: Storage, target: Path) -> None:
    limits = UnpackLimits()
    count = size = 0
    for stat in storage.list(prefix):  # names in storage have no way out of a folder
        count, size = count + 1, size + stat.size
        if count > limits.entries or size > limits.total_bytes:
            shutil.rmtree(target)
            raise DatasetError(f"the data set has more than {limits.entries} files or {limits.total_bytes >> 20} MB")
        path = target / stat.key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.get_file(stat.key, path)
    if not count:
        raise BadInputError("input_gone", "There is no data set of that name.")
