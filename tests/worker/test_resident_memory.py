"""What the worker does about its memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import ROOT
from worker.resident.memory import MemoryWatch, own_memory

PAGES_OF_ONE_ARRAY = 2000


def test_the_kernel_is_asked_why_a_process_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 1\noom_kill 1\n")
    monkeypatch.setattr("worker.resident.memory._kill_counters", lambda: [tmp_path / "none", events])
    watch = MemoryWatch(0)
    watch.begin(os.getpid())
    assert not watch.was_the_end(killed=True)
    events.write_text("low 0\noom 2\noom_kill 2\n")
    assert watch.was_the_end(killed=True)
    assert not watch.was_the_end(killed=False)
    assert own_memory(os.getpid()) > 1024 * 1024
    assert own_memory(0) == 0


def test_the_memory_of_one_photo_is_kept_for_the_next() -> None:
    code = f"""
import resource
import numpy as np
from worker.resident.memory import keep_pages

keep_pages()

def photo():
    first = np.ones({PAGES_OF_ONE_ARRAY} * 4096, np.uint8)
    return int((first + 1)[-1])

photo()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    photo()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < PAGES_OF_ONE_ARRAY
