import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from shared.settings import ROOT

CODE = """
import sys
from pathlib import Path
from client.progress import Progress
one, other = map(Path, sys.argv[1:])
with Progress([one, other]) as progress:
    progress.sent(one, 1024)
    progress.sent(one, 512)  # again, after the connection broke
    progress.works(one, 0.5)
    progress.works(one, 0.25)
    progress.done(one)
    progress.done(other)
    print(progress._bytes.n, progress._files.n)
"""


def test_bars_are_for_terminals(tmp_path: Path) -> None:
    files = [tmp_path / "one.jpg", tmp_path / "other.jpg"]
    for path in files:
        path.write_bytes(bytes(1024))
    command = [sys.executable, "-c", CODE, *map(str, files)]
    plain = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert plain.stderr == ""

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    shown = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=its, text=True, check=True)
    os.close(its)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert shown.stdout.split() == ["2048", "2.0"]
    assert "2.00k/2.00k" in text
    assert "2.0/2 files" in text
