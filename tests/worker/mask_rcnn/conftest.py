from pathlib import Path

import pytest

from shared.entries import MaskRcnnEntry
from shared.settings import Settings
from tests.worker.mask_rcnn.files import entry_of, random_weights, write_keras2, write_names
from worker.models.mask_rcnn.plan import Plan


@pytest.fixture
def small_files(settings: Settings) -> MaskRcnnEntry:
    """The files of a small network in Matterport's layout, in the weights folder, and an entry for them."""
    entry = entry_of()
    settings.weights_dir.mkdir(exist_ok=True)
    write_names(settings.weights_dir)
    write_keras2(settings.weights_dir / entry.weights.name, random_weights(Plan.of(entry, 5)))
    return entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a weight file may be."""
    return tmp_path / "some.file"
