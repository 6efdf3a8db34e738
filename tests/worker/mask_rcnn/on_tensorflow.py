"""What a second backend says: `python -m tests.worker.mask_rcnn.on_tensorflow FOLDER`.

Reads `inputs.npz` and the small model from the folder, and writes `outputs.npz` there.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from shared.entries import MaskRcnnEntry
from shared.settings import Settings
from tests.worker.mask_rcnn.files import plan_of
from worker.models.mask_rcnn.model import MaskRcnn
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.roi_align_ops import pool_tensors


def main(folder: Path) -> None:
    assert keras.config.backend() == "tensorflow"
    given = dict(np.load(folder / "inputs.npz"))
    found: dict[str, object] = {}

    # TensorFlow's own operations
    found["kept"] = tf.image.non_max_suppression(given["boxes"][:, [1, 0, 3, 2]], given["scores"], 50, 0.5).numpy()
    map_0 = given["map_0"]
    found["crops"] = tf.image.crop_and_resize(map_0, given["shares"], given["images"].astype(np.int32), (7, 7)).numpy()

    # ROIAlign for training, and its gradient
    maps = [tf.constant(given[f"map_{level}"]) for level in range(4)]
    for layout in ("matterport", "detectron2"):
        plan = plan_of(layout=layout)

        def pool(plan: Plan = plan) -> Any:
            regions, images = tf.constant(given["regions"]), tf.constant(given["images"])
            return pool_tensors(plan, maps, regions, images, 7, (256, 192), samples=1)

        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = pool()
            loss = ops.sum(pooled * given["weights"])
        found[f"pooled_{layout}"] = pooled.numpy()
        for level, gradient in enumerate(tape.gradient(loss, maps)):
            found[f"gradient_{layout}_{level}"] = tf.convert_to_tensor(gradient).numpy()
        assert np.allclose(tf.function(pool)(), pooled, atol=1e-6), "the same in a graph"

    # whole networks
    for name in ("small", "two"):
        entry = MaskRcnnEntry.model_validate_json((folder / f"{name}.json").read_text())
        model = MaskRcnn.load(entry, Settings(engine="keras", weights_dir=folder))
        assert model.info().engine == "keras-tensorflow"
        prepared = model.preprocess(given["photo"])
        for index, output in enumerate(model.infer(prepared)):
            found[f"{name}_{index}"] = output
        detections = model.detect(given["photo"], score=0.2, iou=0.4, max_detections=20)
        found[f"{name}_boxes"], found[f"{name}_scores"] = detections.boxes, detections.scores
        found[f"{name}_class_ids"] = detections.class_ids
        found[f"{name}_areas"] = np.asarray([mask.area for mask in detections.masks or ()])
    np.savez(folder / "outputs.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
