"""The person detector that the project ships: how good it is on photos that its training never saw."""

from pathlib import Path

import pytest

from shared.entries import DarknetEntry
from shared.settings import ROOT, Settings
from tests.worker.conftest import darknet_entry
from tests.worker.darknet_files import largest_difference, noise, opencv_heads
from worker.engines import Recipe, open_session
from worker.evaluate import evaluate
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.detector import DarknetDetector
from worker.models.darknet.network import build_network
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import read_weights
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.split import split_samples
from worker.training.truth import write_truth

WEIGHTS = ROOT / "weights"


@pytest.fixture
def person() -> DarknetEntry:
    return darknet_entry("person", "person.names", resize="letterbox")


def test_held_out_photos(person: DarknetEntry, settings: Settings, data_dir: Path, tmp_path: Path) -> None:
    dataset = read_dataset(data_dir / "pennfudan")
    # as in its recipe, docs/models/person.md
    held_out = split_samples(dataset.samples, val=0.1, test=0.3333, seed=0).test
    assert len(held_out) == 45
    write_truth(held_out, dataset.labels, tmp_path / "truth")
    model = DarknetDetector.load(person, settings.model_copy(update={"weights_dir": WEIGHTS}))
    metrics = evaluate(model, tmp_path / "truth").metrics
    print({name: round(value, 3) for name, value in metrics.items()})
    assert metrics["AP50"] >= 0.80


def test_it_is_small_and_opencv_reads_it(settings: Settings) -> None:
    cfg, weights = WEIGHTS / "person.cfg", WEIGHTS / "person.weights"
    assert weights.stat().st_size < 8_000_000
    plan = make_plan(load_cfg(cfg))
    batch = noise(plan)
    recipe = Recipe("person", lambda: build_network(plan, read_weights(weights, plan)), outputs=len(plan.heads))
    ours = open_session(recipe, settings).run(batch)
    assert largest_difference(ours, opencv_heads(cfg, weights, plan, batch)) < 1e-3
