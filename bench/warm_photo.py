"""How long a warm photo takes from upload to finished, and where the time goes.

    python -m bench.warm_photo --url http://localhost:5000 --photo dog.jpg

asks a running service that has nothing else to do. Each request differs in its score threshold, so that none is
answered from the cache; the models take turns, so that a noisy moment hits all of them.
"""

import argparse
import platform
import statistics
import time
from collections import defaultdict
from pathlib import Path

import requests

PHASES = ("queue", "fetch", "decode", "preprocess", "inference", "postprocess", "draw", "store", "total")
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://localhost:5000")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    models = [
        model["name"]
        for model in requests.get(f"{options.url}/models", timeout=10).json()["models"]
        if model["installed"]
    ]
    photo = options.photo.read_bytes()
    figures: dict[str, dict[str, list[float]]] = {model: defaultdict(list) for model in models}
    with requests.Session() as session:
        for number in range(options.rounds + WARM_UP):
            for model in models:
                begin = time.perf_counter()
                job = session.post(
                    f"{options.url}/upload?wait=60",
                    files={"file": (options.photo.name, photo)},
                    data={"model": model, "score": f"{0.25 + time.time_ns() % 10**9 / 10**11:.11f}"},
                    timeout=70,
                ).json()
                elapsed = (time.perf_counter() - begin) * 1000
                if job.get("state") != "finished":
                    raise SystemExit(f"{model}: {job}")
                if number >= WARM_UP:
                    figures[model]["end to end"].append(elapsed)
                    for phase in PHASES:
                        figures[model][phase].append(job["result"]["timings_ms"][phase])
    print(f"{platform.machine()}, {platform.python_version()}, {options.rounds} rounds, medians in ms")
    columns = ("end to end", *PHASES)
    print(f"| model | {' | '.join(columns)} | inference share |")
    print("| --- |" + " ---: |" * (len(columns) + 1))
    for model, times in figures.items():
        medians = {column: statistics.median(times[column]) for column in columns}
        share = medians["inference"] / medians["end to end"]
        print(f"| {model} | {' | '.join(f'{medians[column]:.1f}' for column in columns)} | {share:.0%} |")


if __name__ == "__main__":
    main()
