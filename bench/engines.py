"""The bare call of a network, by our engine and by others: same weights, same photo, one run.

    WEIGHTS_DIR=DIR python -m bench.engines --model yolo-fastest-1.1-xl --photo dog.jpg
    WEIGHTS_DIR=DIR python -m bench.engines --model yolov3 --photo dog.jpg --size 416

DIR holds the files of the model as the catalogue names them; without its `.weights` it gets seeded random ones, which
take as long. The engines take turns, so that a noisy moment hits all of them. The machine's peak is the fastest of many
float32 matrix products by OpenVINO and TensorFlow in the same run: what a library reaches, less than what the processor
could do at best. The share of it is one of processor time, of all threads together, which other programs on the machine
hardly change. Prints Markdown.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.catalog import load_catalog
from shared.entries import DarknetEntry, WeightFile
from shared.settings import ROOT, Settings, get_settings
from tests.worker.darknet_files import write_random_weights
from worker.engines import KerasModel, Recipe, select_backend
from worker.engines.threads import available_cpus
from worker.images import decode_image
from worker.models.darknet.cfg import Convolutional, Yolo, load_cfg
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.preprocess import prepare
from worker.models.darknet.weights import read_weights

Call = Callable[[], object]

WARM_UP = 3
SIDE = 1024
PRODUCTS = 100
COLD_STARTS = 3

CONVERT = """
import sys
from pathlib import Path
import bench.engines
bench.engines.convert(*map(Path, sys.argv[1:5]), int(sys.argv[5]))
"""

COLD_START = """
import sys, time
from pathlib import Path
from shared.entries import DarknetEntry
from shared.settings import Settings
from worker.images import decode_image
from worker.models.registry import load_model
entry = DarknetEntry.model_validate_json(sys.argv[1])
settings = Settings()
model = load_model(entry, settings)
model.detect(decode_image(Path(sys.argv[2]), max_pixels=10**8, max_aspect=100).pixels)
print(time.time())
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--no-cold-start", action="store_true")
    options = parser.parse_args()
    settings = get_settings()
    entry = darknet_entry(options.model, settings)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        entry, random = lay_out(entry, settings.weights_dir, folder, options.size)
        plan = make_plan(load_cfg(folder / entry.config.name), entry.image_size)
        image = decode_image(options.photo, max_pixels=10**8, max_aspect=100).pixels
        batch = prepare(image, plan.input.height, plan.input.width, entry.resize).batch
        np.save(folder / "batch.npy", batch)
        calls = make_calls(entry, plan, folder, batch, options.threads)
        times = measure(calls, options.rounds)
        peak, how = measure_peak(options.threads)
        report(entry, plan, times, peak, how, options, random)
        if not options.no_cold_start:
            report_cold_starts(entry, folder, options)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Which model looks at which photo, and how often."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a Darknet model of the catalogue")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--size", type=int, help="side of the network's input; none: as its .cfg says")
    parser.add_argument("--rounds", type=int, default=30)
    return parser


def darknet_entry(name: str, settings: Settings) -> DarknetEntry:
    """The catalogue's entry of that name; ends the program if it is of another family."""
    entry = load_catalog(settings.catalog).models[name]
    if not isinstance(entry, DarknetEntry):
        raise SystemExit(f"{name} is not a Darknet model")
    return entry


def lay_out(entry: DarknetEntry, weights_dir: Path, folder: Path, size: int | None) -> tuple[DarknetEntry, bool]:
    """The model's files in a folder of its own; whether its weights are random."""
    changes: dict[str, Any] = {"image_size": (size, size) if size else entry.image_size}
    for file in (entry.config, entry.classes):
        (folder / file.name).symlink_to((weights_dir / file.name).resolve(strict=True))
    weights = folder / entry.weights.name
    random = not (weights_dir / entry.weights.name).exists()
    if random:
        write_random_weights(weights, make_plan(load_cfg(folder / entry.config.name)))
        changes["weights"] = WeightFile(name=entry.weights.name)
    else:
        weights.symlink_to((weights_dir / entry.weights.name).resolve())
    return entry.model_copy(update=changes), random


def convert(cfg: Path, weights: Path, batch: Path, target: Path, size: int) -> None:
    """Write the network as OpenVINO has it, in float32 and int8, into a folder.

    For a process of its own: Keras has one backend a process.
    """
    select_backend("openvino", 1)
    import nncf
    import openvino

    from worker.engines.openvino import with_converted
    from worker.models.darknet.network import build_network

    plan = make_plan(load_cfg(cfg), (size, size))
    core = openvino.Core()
    recipe = Recipe("bench", lambda: build_network(plan, read_weights(weights, plan)), outputs=len(plan.heads))
    model = with_converted(core, recipe, target / "cache", lambda converted: converted)
    openvino.serialize(model, target / "f32.xml")
    # calibrated by one photo: enough to be timed, not to be used
    data = nncf.Dataset([np.load(batch)])
    quantised = nncf.quantize(model, data, subset_size=1, preset=nncf.QuantizationPreset.MIXED)
    openvino.serialize(quantised, target / "int8.xml")


def make_calls(
    entry: DarknetEntry, plan: Plan, folder: Path, batch: NDArray[np.float32], threads: int
) -> dict[str, Call]:
    """Each engine's call on the photo, as it is used, by its name."""
    cfg, weights = folder / entry.config.name, folder / entry.weights.name
    arguments = [cfg, weights, folder / "batch.npy", folder, plan.input.height]
    subprocess.run([sys.executable, "-c", CONVERT, *map(str, arguments)], check=True, cwd=ROOT, stdout=sys.stderr)
    return {
        **openvino_calls(folder, batch, threads),
        **keras_calls(plan, weights, folder, batch, threads),
        **opencv_calls(cfg, weights, plan, batch, threads),
    }


def openvino_calls(folder: Path, batch: NDArray[np.float32], threads: int) -> dict[str, Call]:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    from worker.engines.openvino import OpenVinoSession, compile_model
    from worker.engines.precision import Precision, this_processor

    core = openvino.Core()
    precisions: list[Precision] = ["f32", "int8"]
    if this_processor(core).bf16:
        precisions.append("bf16")

    def make(precision: Precision) -> Call:
        model = core.read_model(folder / ("int8.xml" if precision == "int8" else "f32.xml"))
        session = OpenVinoSession(compile_model(core, model, precision, threads), batched=False)
        return lambda: session.run(batch)

    return {f"OpenVINO {precision}": make(precision) for precision in precisions}


def keras_calls(plan: Plan, weights: Path, folder: Path, batch: NDArray[np.float32], threads: int) -> dict[str, Call]:
    """TensorFlow; and ONNX Runtime, to which Keras exports from there, where it is installed."""
    os.environ |= {
        "KERAS_BACKEND": "tensorflow",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    import tensorflow

    from worker.models.darknet.network import build_network

    model = build_network(plan, read_weights(weights, plan))
    function = tensorflow.function(model)
    tensor = tensorflow.constant(batch)
    exported = onnx_calls(model, folder, batch, threads)
    return exported | {
        "Keras `predict`": lambda: model.predict(batch, verbose=0),
        "Keras `predict_on_batch`": lambda: model.predict_on_batch(batch),
        "`tf.function`": lambda: [np.asarray(output) for output in function(tensor)],
    }


def onnx_calls(model: KerasModel, folder: Path, batch: NDArray[np.float32], threads: int) -> dict[str, Call]:
    if not all(importlib.util.find_spec(name) for name in ("onnxruntime", "tf2onnx")):
        return {}
    import onnxruntime

    model.predict_on_batch(batch)  # Keras exports only what was called
    model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    (entry,) = session.get_inputs()
    return {"ONNX Runtime": lambda: session.run(None, {entry.name: batch})}


def opencv_calls(cfg: Path, weights: Path, plan: Plan, batch: NDArray[np.float32], threads: int) -> dict[str, Call]:
    cv2.setNumThreads(threads)
    net: Any = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    heads = [f"conv_{step.index - 1}" for step in plan.layers if isinstance(step.layer, Yolo)]
    blob = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))

    def call() -> object:
        net.setInput(blob)
        return net.forward(heads)

    return {"OpenCV DNN": call}


@dataclass(frozen=True, slots=True)
class Times:
    """Of an engine's calls, in milliseconds."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def measure(calls: dict[str, Call], rounds: int) -> dict[str, Times]:
    """Let the engines take turns."""
    times = {name: Times() for name in calls}
    for number in range(WARM_UP + rounds):
        for name, call in calls.items():
            begin, used = time.perf_counter(), time.process_time()
            call()
            if number >= WARM_UP:
                times[name].processor.append((time.process_time() - used) * 1000)
                times[name].wall.append((time.perf_counter() - begin) * 1000)
    return times


def measure_peak(threads: int) -> tuple[float, str]:
    """GFLOP in a second of processor time of the fastest float32 matrix product, and whose it is."""
    import openvino
    import tensorflow
    from openvino import opset16 as opset

    random = np.random.default_rng(0)
    a, b = random.random((SIDE, SIDE), np.float32), random.random((SIDE, SIDE), np.float32)
    # a constant on the right, as in a network: only then is it packed once
    left = opset.parameter([SIDE, SIDE], np.float32)
    model = openvino.Model([opset.result(opset.matmul(left, opset.constant(b), False, False))], [left], "product")
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    x, y = tensorflow.constant(a), tensorflow.constant(b)
    calls: dict[str, Call] = {
        "OpenVINO": lambda: request.infer([a]),
        "TensorFlow": lambda: tensorflow.matmul(x, y).numpy(),
    }
    best: dict[str, float] = dict.fromkeys(calls, 0.0)
    for _ in range(PRODUCTS):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            best[name] = max(best[name], 2 * SIDE**3 / (time.process_time() - begin) / 1e9)
    winner = max(best, key=lambda name: best[name])
    return best[winner], winner


def gflop(plan: Plan) -> float:
    """Of one image: two operations for each product of a weight and a value."""
    sizes = [
        2 * int(np.prod(step.kernel_shape)) * step.output.height * step.output.width
        for step in plan.layers
        if isinstance(step.layer, Convolutional)
    ]
    return sum(sizes) / 1e9


def report(
    entry: DarknetEntry,
    plan: Plan,
    times: dict[str, Times],
    peak: float,
    how: str,
    options: argparse.Namespace,
    random: bool,
) -> None:
    import openvino

    versions = {name: importlib.metadata.version(name) for name in ("openvino", "tensorflow-cpu", "keras")}
    versions["opencv"] = cv2.__version__
    if "ONNX Runtime" in times:
        versions["onnxruntime"] = importlib.metadata.version("onnxruntime")
    work = gflop(plan)
    print(f"{entry.name}{', random weights' if random else ''}, {plan.input.width}x{plan.input.height}, ", end="")
    print(f"{work:.2f} GFLOP, {options.threads} threads, {options.rounds} rounds\n")
    print(f"{openvino.Core().get_property('CPU', 'FULL_DEVICE_NAME')}, Python {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"\nPeak: {peak:.0f} GFLOP/s a thread, {how}'s product of two {SIDE}x{SIDE} float32 matrices\n")
    print("| engine | median ms | times the best | times OpenVINO f32 | processor ms | of the float32 peak |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    medians = {name: statistics.median(each.wall) for name, each in times.items()}
    first = min(medians.values())
    for name, median in sorted(medians.items(), key=lambda pair: pair[1]):
        used = statistics.median(times[name].processor)
        ratios = f"{median / first:.2f} | {median / medians['OpenVINO f32']:.2f}"
        print(f"| {name} | {median:.1f} | {ratios} | {used:.1f} | {work / (used / 1000) / peak:.0%} |")


def report_cold_starts(entry: DarknetEntry, folder: Path, options: argparse.Namespace) -> None:
    """From the start of a process to its first finished photo, with the model's files in the disk cache."""
    print("\n| a fresh process, to its first photo | s | processor s |\n| --- | ---: | ---: |")
    base = {"WEIGHTS_DIR": str(folder), "PYTHONPATH": str(ROOT), "THREADS": str(options.threads), "PRECISION": "f32"}
    openvino = base | {"ENGINE": "openvino"}
    keras = base | {"ENGINE": "keras", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    warm = openvino | {"ENGINE_CACHE_DIR": str(folder / "warm")}
    cold_start(entry, options.photo, warm)
    empty = [openvino | {"ENGINE_CACHE_DIR": str(folder / f"cold-{number}")} for number in range(COLD_STARTS)]
    for title, environments in (
        ("OpenVINO, converted before", [warm] * COLD_STARTS),
        ("OpenVINO, converts first", empty),
        ("Keras on TensorFlow", [keras] * COLD_STARTS),
    ):
        times = [cold_start(entry, options.photo, environment) for environment in environments]
        wall, processor = (statistics.median(each) for each in zip(*times, strict=True))
        print(f"| {title} | {wall:.2f} | {processor:.2f} |")


def cold_start(entry: DarknetEntry, photo: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds to the first photo, and of processor time in all."""
    command = [sys.executable, "-c", COLD_START, entry.model_dump_json(), str(photo)]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS_", "TF_"))}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run(command, env=own | environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(done.stdout.split()[-1]) - begin, processor


if __name__ == "__main__":
    main()
