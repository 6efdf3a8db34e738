"""The picture that goes with a table: a line a series. Needs matplotlib, which the list of the benchmarks has."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Points = Sequence[tuple[float, float]]


def curves(
    path: Path, axes: tuple[str, str], series: Mapping[str, Points], guide: tuple[str, Points] | None = None
) -> None:
    """Write an SVG.

    Args:
        path: of the file.
        axes: what lies across, which doubles from mark to mark, and what goes up.
        series: name -> points.
        guide: a dashed line to compare with.
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
    plot.set_ylim(bottom=0)
    plot.set_xlabel(axes[0])
    plot.set_ylabel(axes[1])
    plot.grid(visible=True, alpha=0.3)
    plot.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
