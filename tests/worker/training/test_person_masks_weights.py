"""The pedestrian Mask R-CNN that the project ships: how good it is on photos that its training never saw."""

from pathlib import Path

from shared.catalog import load_catalog
from shared.entries import MaskRcnnEntry
from shared.settings import ROOT, Settings
from worker.evaluate import evaluate
from worker.models.mask_rcnn.model import MaskRcnn
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.split import split_samples
from worker.training.truth import write_truth

WEIGHTS = ROOT / "weights"


def test_held_out_photos(settings: Settings, data_dir: Path, tmp_path: Path) -> None:
    entry = load_catalog(WEIGHTS / "catalog.toml").models["person-masks"]
    assert isinstance(entry, MaskRcnnEntry)
    dataset = read_dataset(data_dir / "pennfudan")
    # as in its recipe, docs/models/person-masks.md: the same photos as for the detector, whose backbone it began with
    held_out = split_samples(dataset.samples, val=0.1, test=0.3333, seed=0).test
    assert len(held_out) == 45
    write_truth(held_out, dataset.labels, tmp_path / "truth")
    model = MaskRcnn.load(entry, settings.model_copy(update={"weights_dir": WEIGHTS}))
    metrics = evaluate(model, tmp_path / "truth").metrics
    print({name: round(value, 3) for name, value in metrics.items()})
    assert metrics["mask_AP50"] >= 0.75
    assert metrics["AP50"] >= 0.80


def test_all_that_ships_is_small() -> None:
    shipped = [*WEIGHTS.glob("person.*"), *WEIGHTS.glob("person-masks.*")]
    assert len(shipped) == 5
    assert sum(path.stat().st_size for path in shipped) < 25_000_000
