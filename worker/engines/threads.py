"""How many threads a worker computes with."""

import math
import os
from pathlib import Path

from shared.settings import Settings

CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = CGROUP) -> int:
    """The processors this process may use: its affinity, and the quota of its container if it has one.

    Args:
        cgroup: where the control groups are mounted; version 2's `cpu.max` and version 1's `cpu.cfs_quota_us` count.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # "max": no limit
    return limit if limit > 0 else None


def threads_for(settings: Settings, cgroup: Path = CGROUP) -> int:
    """The threads of one worker: `settings.threads`, or its share of the processors."""
    return settings.threads or max(1, available_cpus(cgroup) // max(1, settings.workers))


def threads_if_small(settings: Settings, cgroup: Path = CGROUP) -> int:
    """The threads of one worker for a small network: a worker that has all cores leaves one to what is around it.

    On all cores such a network is done a little sooner, but its threads wait for each other whenever the web tier or
    a disk needs one of them. Workers that share the cores have a part each already.
    """
    threads = threads_for(settings, cgroup)
    return threads if settings.threads or settings.workers > 1 else max(1, threads - 1)
