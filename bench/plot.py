"""Draws the table that a benchmark prints; needs matplotlib, which the list of the benchmarks has.

    python -m bench.scaling | .venv-bench/bin/python -m bench.plot docs/scaling.svg --up jobs/s --linear 5
    python -m bench.serving ... | .venv-bench/bin/python -m bench.plot docs/serving.svg --up photos/s --by server

The first column lies across. What comes in also goes out.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

Points = Sequence[tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--up", required=True, help="column that goes up")
    parser.add_argument("--by", help="column whose values are a line each")
    parser.add_argument("--linear", type=float, help="draw what it would be at so much for each of the first column")
    options = parser.parse_args()
    text = sys.stdin.read()
    sys.stdout.write(text)
    head, _, *rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        cells = dict(zip(head, row, strict=True))
        series[cells[options.by] if options.by else "measured"].append((float(row[0]), float(cells[options.up])))
    guide = None
    if options.linear:
        guide = "linear", [(x, options.linear * x) for x, _ in next(iter(series.values()))]
    curves(options.svg, (head[0], options.up), series, guide)


def curves(
    path: Path, axes: tuple[str, str], series: Mapping[str, Points], guide: tuple[str, Points] | None = None
) -> None:
    """Write an SVG.

    Args:
        path: of the file.
        axes: what lies across, which doubles from mark to mark, and what goes up.
        series: name -> points.
        guide: a dashed line to compare with; what goes up then doubles, too.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = path.name  # the same figures, the same file
    from matplotlib import pyplot as plt

    figure, plot = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, points in series.items():
        plot.plot(*zip(*points, strict=True), marker="o", label=name)
    if guide is not None:
        plot.plot(*zip(*guide[1], strict=True), linestyle="--", color="grey", label=guide[0])
    ticks = sorted({x for points in series.values() for x, _ in points})
    plot.set_xscale("log", base=2)
    plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if guide is None:
        plot.set_ylim(bottom=0)
    else:
        plot.set_yscale("log", base=2)
        marks = [y for _, y in guide[1]]
        plot.set_yticks(marks, [f"{mark:g}" for mark in marks])
    plot.set_xlabel(axes[0])
    plot.set_ylabel(axes[1])
    plot.grid(visible=True, alpha=0.3)
    plot.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
