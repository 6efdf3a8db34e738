"""A GPU that JAX has the feature maps on, with the CPU in its place: `python -m tests.worker.mask_rcnn.on_jax FOLDER`.

Reads `inputs.npz` and the small models from the folder, and writes `on_jax.npz` there.
"""

import sys
from pathlib import Path
from unittest import mock

import numpy as np

from shared.entries import MaskRcnnEntry
from shared.settings import Settings
from tests.worker.mask_rcnn.files import plan_of
from tests.worker.mask_rcnn.test_roi_align import CANVAS
from worker.engines import select_backend
from worker.engines.arithmetic import Gpu
from worker.models.mask_rcnn.model import MaskRcnn
from worker.models.mask_rcnn.roi_align import pool


def main(folder: Path) -> None:
    given = dict(np.load(folder / "inputs.npz"))
    settings = Settings(engine="keras", weights_dir=folder, data_dir=folder, engine_cache_dir=folder / "cache")
    found: dict[str, object] = {}
    select_backend("keras", threads=1)
    for name in ("small", "two"):
        entry = MaskRcnnEntry.model_validate_json((folder / f"{name}.json").read_text())
        with mock.patch("worker.engines.keras.this_gpu", return_value=Gpu("a CPU", tf32=False)):
            model = MaskRcnn.load(entry, settings)
        outputs = model.infer(model.preprocess(given["photo"]))
        assert [isinstance(each, np.ndarray) for each in outputs] == [False] * 4 + [True] * 3
        for index, output in enumerate(outputs):
            found[f"{name}_{index}"] = np.asarray(output)
        detections = model.detect(given["photo"], score=0.2, iou=0.4, max_detections=20)
        found[f"{name}_boxes"], found[f"{name}_scores"] = detections.boxes, detections.scores
        found[f"{name}_areas"] = np.asarray([mask.area for mask in detections.masks or ()])

        import jax.numpy as jnp  # not before Keras has set it up

        maps = [jnp.asarray(given[f"map_{level}"]) for level in range(4)]
        plan = plan_of(layout=entry.layout)
        for count in (40, 0):
            regions, images = given["regions"][:count], given["images"][:count]
            found[f"{name}_pooled_{count}"] = np.asarray(pool(plan, maps, regions, images, 7, CANVAS))
    np.savez(folder / "on_jax.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
