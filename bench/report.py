"""How a benchmark says what it measured: the machine, and a table in Markdown."""

import importlib.metadata
import os
import platform
from pathlib import Path


def machine(*packages: str) -> str:
    """One line: processor, cores and how busy they are, system, Python, the versions of packages that are there."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = f"a load of {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    system = [platform.system(), f"Python {platform.python_version()}"]
    about = [f"{cores} cores of {_processor()}", *filter(None, [load]), *system, *versions]
    return ", ".join(about)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Table:
    """A table in Markdown; numbers are to the right."""

    def __init__(self, *head: str) -> None:
        self._rows: list[list[str]] = [list(head)]

    def row(self, *cells: object) -> None:
        """Add a row."""
        self._rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        head, *rows = self._rows
        right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(head))]
        lines = [head, ["---:" if number else "---" for number in right], *rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip(" %"))
    except ValueError:
        return cell in ("", "-")
    return True
