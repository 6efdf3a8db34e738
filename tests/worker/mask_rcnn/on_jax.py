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
from worker.models.mask_rcnn.preprocess import bounds_of
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
        prepared = model.preprocess(given["photo"])
        outputs = model.infer(prepared)
        assert [isinstance(each, np.ndarray) for each in outputs] == [False] * 4 + [True] * 3
        for index, output in enumerate(outputs):
            found[f"{name}_{index}"] = np.asarray(output)
        detections = model.detect(given["photo"], score=0.2, iou=0.4, max_detections=20)
        found[f"{name}_boxes"], found[f"{name}_scores"] = detections.boxes, detections.scores
        found[f"{name}_class_ids"] = detections.class_ids
        found[f"{name}_areas"] = np.asarray([mask.area for mask in detections.masks or ()])

        import jax.numpy as jnp  # not before Keras has set it up

        maps = [jnp.asarray(given[f"map_{level}"]) for level in range(4)]
        plan = plan_of(layout=entry.layout)
        for count in (40, 0):
            regions, images = given["regions"][:count], given["images"][:count]
            found[f"{name}_pooled_{count}"] = np.asarray(pool(plan, maps, regions, images, 7, CANVAS))
        from worker.models.mask_rcnn import roi_align_jax

        # one length for each power of two, whatever the regions' shapes
        roi_align_jax._pool.clear_cache()
        for count in range(41):
            pool(plan, maps, given["regions"][:count], given["images"][:count], 14, CANVAS)
        found[f"{name}_lengths"] = roi_align_jax._pool._cache_size()

        # three images, filled up to four
        bounds = bounds_of(model._plan, prepared.placement)
        batch = np.concatenate([prepared.batch, prepared.batch[:, ::-1], prepared.batch[:, :, ::-1]])
        together = model._stages.find(batch, [bounds] * 3)
        assert len(together.maps[0]) == 4
        for index in range(3):
            alone = model._stages.find(batch[index : index + 1], [bounds])
            mine = together.images == index
            np.testing.assert_allclose(together.boxes[mine], alone.boxes, atol=1e-2)
            np.testing.assert_allclose(together.logits[mine], alone.logits, atol=1e-3)
            found[f"{name}_regions_{index}"] = len(alone.boxes)

        without_gpu = MaskRcnn.load(entry, settings)
        assert all(isinstance(each, np.ndarray) for each in without_gpu.infer(prepared))
    np.savez(folder / "on_jax.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
