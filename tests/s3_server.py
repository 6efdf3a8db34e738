"""A real S3 server for the tests: OpenStack Swift with its S3 API, from PyPI, in a virtual environment of its own.

Unlike moto it checks signatures and the expiry of links, and keeps its objects over a restart. Four processes
(account, container, object, proxy) on free ports of the loopback and a folder that is removed afterwards; no
root, no system package. `.venv-s3/` is made on the first call from `requirements/s3-server.txt`.

    python -m tests.s3_server        # starts one by hand and prints the settings that use it
"""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
REQUIREMENTS: Final = ROOT / "requirements" / "s3-server.txt"
VENV: Final = ROOT / ".venv-s3"

#: role -> module with `main`
ROLES: Final = {
    "account": "swift.account.server",
    "container": "swift.container.server",
    "object": "swift.obj.server",
    "proxy": "swift.proxy.server",
}

# The servers end with the tests, also when those are killed with -9 (PR_SET_PDEATHSIG). They are whoever we are, also
# a number that has no name, as it happens in containers.
_BOOT: Final = """
import ctypes, importlib, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
module, parent = sys.argv.pop(1), int(sys.argv.pop(1))
if os.getppid() != parent:
    sys.exit(1)
import swift.common.wsgi
swift.common.wsgi.drop_privileges = lambda user: None
sys.exit(importlib.import_module(module).main())
"""

_RINGS: Final = """
import sys
from swift.common.ring import RingBuilder
folder, *ports = sys.argv[1:]
for kind, port in zip(("account", "container", "object"), ports, strict=True):
    ring = RingBuilder(1, 1, 0)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "disk", "weight": 1})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{kind}.ring.gz")
"""

_SWIFT_CONF: Final = """
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests

[storage-policy:0]
name = default
default = yes
"""

_COMMON: Final = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING
"""

_STORE: Final = """
[pipeline:main]
pipeline = {role}-server

[app:{role}-server]
use = egg:swift#{role}
"""

_PROXY: Final = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck s3api tempauth bulk slo dlo proxy-server

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:s3api]
use = egg:swift#s3api
location = us-east-1

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin

[filter:bulk]
use = egg:swift#bulk

[filter:slo]
use = egg:swift#slo
rate_limit_after_segment = 100000

[filter:dlo]
use = egg:swift#dlo

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""


class S3ServerError(RuntimeError):
    """The server could not be installed or started; the message says what to do."""


def ensure_venv() -> Path:
    """Makes `.venv-s3/` if it is missing or older than its lock file; returns its interpreter."""
    python = VENV / "bin" / "python"
    stamp = VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    with REQUIREMENTS.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once make it once
        if stamp.is_file() and stamp.read_text() == wanted and python.exists():
            return python
        shutil.rmtree(VENV, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(VENV)], "make a virtual environment (Debian: apt install python3-venv)")
        _run(
            [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)],
            "install requirements/s3-server.txt",
        )
        stamp.write_text(wanted)
    return python


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        tail = (done.stderr or done.stdout)[-2000:]
        raise S3ServerError(f"the S3 server of the tests: could not {what}:\n{tail}")


class SwiftServer:
    """One server; a context manager. It can be stopped and started again on the same port with the same data.

    Args:
        folder: where it keeps its files; a temporary one if absent. The file system must know user attributes.
    """

    access_key = "test:tester"

    def __init__(self, folder: Path | None = None) -> None:
        self.secret_key = "testing-secret"
        self._own_folder = folder is None
        self.folder = folder or _folder_with_attributes()
        self.ports = dict(zip(ROLES, _free_ports(len(ROLES)), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._python = ensure_venv()
        self._configure()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def environment(self) -> dict[str, str]:
        """The variables that make Dropsight use this server (`STORAGE_URL` aside)."""
        return {
            "S3_ENDPOINT_URL": self.url,
            "S3_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def start(self, timeout: float = 30) -> None:
        """Starts the processes and waits until they answer."""
        for role, module in ROLES.items():
            with (self.folder / f"{role}.log").open("ab") as log:
                command = [str(self._python), "-W", "ignore", "-c", _BOOT, module, str(os.getpid())]
                command += [str(self.folder / f"{role}.conf"), "--verbose"]
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
                )
        deadline = time.monotonic() + timeout
        for role in ROLES:
            while not self._answers(role):
                if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                    logs = "\n".join(f"{role}: {self.log(role)[-1500:]}" for role in ROLES)
                    self.stop()
                    raise S3ServerError(f"the S3 server of the tests does not start:\n{logs}")
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the processes; the data stay."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def close(self) -> None:
        """`stop()`, and removes the data if the folder is this object's own."""
        self.stop()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, role: str = "proxy") -> str:
        """What a process has written."""
        path = self.folder / f"{role}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _configure(self) -> None:
        (self.folder / "disk").mkdir(parents=True, exist_ok=True)
        (self.folder / "swift.conf").write_text(_SWIFT_CONF)
        for role, port in self.ports.items():
            template = _COMMON + (_PROXY if role == "proxy" else _STORE)
            values = {"port": port, "folder": self.folder, "role": role, "secret": self.secret_key}
            (self.folder / f"{role}.conf").write_text(template.format(**values))
        ports = [str(self.ports[role]) for role in ("account", "container", "object")]
        _run([str(self._python), "-W", "ignore", "-c", _RINGS, str(self.folder), *ports], "make its rings")

    def _answers(self, role: str) -> bool:
        # the proxy knows /healthcheck; the others answer any request once they listen
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[role]}/healthcheck", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return role != "proxy"
        except OSError:
            return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _folder_with_attributes() -> Path:
    """A temporary folder on a file system with user attributes (Linux before 6.6: not tmpfs)."""
    for parent in (None, ROOT / ".venv-s3", Path.home()):
        folder = Path(tempfile.mkdtemp(prefix="dropsight-s3-", dir=parent))
        try:
            if sys.platform == "linux":
                os.setxattr(folder, "user.dropsight", b"yes")
        except OSError:
            folder.rmdir()
        else:
            return folder
    raise S3ServerError("the S3 server of the tests needs a file system with user attributes for TMPDIR")


def main() -> None:
    """Runs one until Ctrl-C."""
    with SwiftServer() as server:
        for name, value in server.environment().items():
            print(f"export {name}={value}")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
