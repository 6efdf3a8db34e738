"""Coverage measured in processes whose signal handlers raise exceptions, as those of a worker do.

Coverage's tracer takes a lock at each call, by a function of Python. An exception that a signal raises in there leaves
the lock taken, and at its next call the process waits for it for ever. The lock's own methods are of C: no handler runs
between them.

`make test` puts this folder into PYTHONPATH: measuring begins before a process knows any other.
"""

from operator import attrgetter
from typing import Any

from coverage.collector import Collector
from coverage.plugin_support import Plugins


def coverage_init(registry: Plugins, options: dict[str, Any]) -> None:
    """What coverage calls in each process, before it starts."""
    for name, method in (("lock_data", "acquire"), ("unlock_data", "release")):
        setattr(Collector, name, property(attrgetter(f"data_lock.{method}")))
