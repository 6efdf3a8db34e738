"""What the page of several results says of them together."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.jobs import JobView
from shared.results import ImageResult


@dataclass(frozen=True, slots=True)
class Line:
    """One label.

    Args:
        label: the label.
        cells: for each job, in their order: how many objects there are, or "87 %" of a classifier; empty if it has
            not named the label, or has not finished.
    """

    label: str
    cells: tuple[str, ...]


def compared(jobs: Sequence[JobView]) -> list[Line]:
    """A line for each label that any of the jobs has, those that most jobs agree on first."""
    columns = [_column(job) for job in jobs]
    labels = dict.fromkeys(label for column in columns for label in column)  # in the order of the first job
    lines = [Line(label, tuple(column.get(label, "") for column in columns)) for label in labels]
    return sorted(lines, key=lambda line: line.cells.count(""))  # stable


def _column(job: JobView) -> dict[str, str]:
    if job.result is None:
        return {}
    classes: dict[str, str] = {}
    for found in (
        job.result.classes if isinstance(job.result, ImageResult) else []
    ):  # best first; ImageNet has two cranes
        classes.setdefault(found.label, f"{found.score:.0%}".replace("%", " %"))
    return classes | {label: str(count) for label, count in job.result.counts.items()}
