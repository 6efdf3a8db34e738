"""The models that the project ships: how good they are on photos that their training never saw, and how small."""

from pathlib import Path

import pytest

from shared.catalog import load_catalog
from shared.settings import ROOT, Settings
from tests.worker.darknet_files import largest_difference, noise, opencv_heads
from worker.engines import Recipe, open_session
from worker.evaluate import evaluate
from worker.models.base import DetectionModel
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.network import build_network
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import read_weights
from worker.models.registry import ModelCache
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.split import split_samples
from worker.training.truth import write_truth

WEIGHTS = ROOT / "weights"


@pytest.fixture(scope="module")
def truth(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is on the photos held out, as in the recipes: docs/models/person.md and person-masks.md."""
    dataset = read_dataset(data_dir / "pennfudan")
    held_out = split_samples(dataset.samples, val=0.1, test=0.3333, seed=0).test
    assert len(held_out) == 45
    folder = tmp_path_factory.mktemp("truth")
    write_truth(held_out, dataset.labels, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "wanted"), [("person", {"AP50": 0.80}), ("person-masks", {"mask_AP50": 0.75, "AP50": 0.80})]
)
def test_held_out_photos(name: str, wanted: dict[str, float], settings: Settings, truth: Path) -> None:
    catalog = load_catalog(WEIGHTS / "catalog.toml")
    model = ModelCache(lambda: catalog, settings.model_copy(update={"weights_dir": WEIGHTS})).get(name)
    assert isinstance(model, DetectionModel)
    metrics = evaluate(model, truth).metrics
    print({figure: round(value, 3) for figure, value in metrics.items()})
    assert all(metrics[figure] >= value for figure, value in wanted.items()), metrics


def test_all_that_ships_is_small() -> None:
    shipped = [*WEIGHTS.glob("person.*"), *WEIGHTS.glob("person-masks.*")]
    assert len(shipped) == 5
    assert sum(path.stat().st_size for path in shipped) < 25_000_000


def test_opencv_reads_the_detector(settings: Settings) -> None:
    cfg, weights = WEIGHTS / "person.cfg", WEIGHTS / "person.weights"
    plan = make_plan(load_cfg(cfg))
    batch = noise(plan)
    recipe = Recipe("person", lambda: build_network(plan, read_weights(weights, plan)), outputs=len(plan.heads))
    ours = open_session(recipe, settings).run(batch)
    assert largest_difference(ours, opencv_heads(cfg, weights, plan, batch)) < 1e-3
