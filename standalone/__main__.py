"""`python -m standalone`: start Redis, the web tier and the workers, say where they are, end them with Ctrl-C."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import FrameType
from typing import IO, Any, Final

from shared.catalog import load_catalog
from shared.settings import Settings, get_settings
from standalone import redis_server
from standalone.processes import can_train, programs, supervisor_config
from worker.weights import WeightsError, fetch_model, fetch_shipped

#: seconds between two words of patience while the service comes up
PATIENCE: Final = 15.0


class CannotStartError(Exception):
    """Something in the way that a person has to remove; the message says what."""


def main() -> int:
    """Run until Ctrl-C. Returns the exit status."""
    settings = get_settings()
    try:
        lock = _own_data_dir(settings)
        _need_free_port(settings)
        process = _start(settings)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    except (CannotStartError, redis_server.NoRedisError) as error:
        print(f"dropsight: {error}", file=sys.stderr)
        return 1
    with lock:
        return _watch(process, settings)


def _own_data_dir(settings: Settings) -> IO[str]:
    """Make the folders and keep a second copy out of them."""
    for folder in (settings.data_dir / "run", settings.data_dir / "logs", settings.data_dir / "redis"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (settings.data_dir / "run" / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStartError(
            f"another copy runs on {settings.data_dir}. Give this one its own: DATA_DIR=other PORT=5001 make run"
        ) from None
    return lock


def _need_free_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise CannotStartError(
                f"port {settings.port} of {settings.host} is taken ({error.strerror}). "
                f"Choose another: PORT={settings.port + 1} make run"
            ) from None


def _start(settings: Settings) -> "subprocess.Popen[bytes]":
    _fetch_default_model(settings)
    if settings.allow_training and not can_train():
        print("dropsight: no trainer, as TensorFlow is not installed here: `make run TRAINING=1`", file=sys.stderr)
    run_dir, log_dir = settings.data_dir / "run", settings.data_dir / "logs"
    redis_command = None
    redis_url = settings.redis_url
    if not redis_url:
        path = redis_server.socket_path(run_dir)
        redis_command = redis_server.command(redis_server.find_server(), path, settings.data_dir / "redis")
        redis_url = f"unix://{path}"
    config = run_dir / "supervisord.conf"
    config.write_text(supervisor_config(programs(settings, redis_command), run_dir, log_dir), encoding="utf-8")
    environment = os.environ | {"REDIS_URL": redis_url, "DATA_DIR": str(settings.data_dir)}
    # in a session of its own: Ctrl-C reaches this process alone, which then ends the rest in order
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
        env=environment,
        start_new_session=True,
    )


def _fetch_default_model(settings: Settings) -> None:
    """Have the default model's files, or say what to do; the service starts either way and says it, too."""
    try:
        catalog = load_catalog(settings.catalog, settings.default_model)
    except (OSError, ValueError) as error:
        raise CannotStartError(f"the catalogue {settings.catalog} cannot be used: {error}") from None
    shipped = settings.catalog.parent
    there = fetch_shipped(catalog, settings.weights_dir, shipped)
    entry = catalog[catalog.default]
    if not entry.missing_files(settings.weights_dir):
        return
    print(f"Fetching the model {entry.name} into {settings.weights_dir} ...", flush=True)
    try:
        fetch_model(entry, settings.weights_dir, settings.weights_source, shipped)
    except WeightsError as error:
        print(f"dropsight: {error}", file=sys.stderr)
        if catalog.fallback in there:
            print(f"Until then the model {catalog.fallback} is used, which comes with the project.", file=sys.stderr)


def _watch(process: "subprocess.Popen[bytes]", settings: Settings) -> int:
    """Wait for the service to be ready, then for its end."""
    stopping = False

    def stop(_signum: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            return
        stopping = True
        print("\nStopping; running jobs may end first ...", flush=True)
        process.terminate()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        _announce(process, settings)
        status = process.wait()
    finally:
        process.terminate()
        process.wait()
    if stopping:
        print("Stopped.")
        return 0
    print(f"dropsight: the supervisor ended with status {status}; see {settings.data_dir / 'logs'}", file=sys.stderr)
    return 1


def _announce(process: "subprocess.Popen[bytes]", settings: Settings) -> None:
    host = "localhost" if settings.host in ("127.0.0.1", "0.0.0.0", "::", "::1") else settings.host  # noqa: S104
    address = f"http://{host}:{settings.port}"
    logs = settings.data_dir / "logs"
    print(f"Starting; logs are in {logs} ...", flush=True)
    next_word = time.monotonic() + PATIENCE
    while process.poll() is None:
        answer = _readiness(f"http://{_reachable(settings.host)}:{settings.port}/readyz")
        if answer is not None and answer.get("ready"):
            print(f"\n  Dropsight is ready: {address}\n\n  Ctrl-C ends it.", flush=True)
            if settings.open_to_all:
                print(
                    "\n  NO API KEYS ARE SET: ANYBODY WHO CAN REACH THE PORT CAN USE IT. See docs/security.md.",
                    flush=True,
                )
            return
        if time.monotonic() > next_word:
            if answer is None:
                print(f"{address} does not answer yet; {logs / 'web-0.log'} may say why", flush=True)
            else:
                reasons = [check["message"] for check in answer["checks"].values() if not check["ok"]]
                print(f"Up at {address}, but not ready: {' '.join(reasons)}", flush=True)
            next_word = time.monotonic() + 4 * PATIENCE
        time.sleep(0.2)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)  # noqa: S104


def _readiness(url: str) -> Mapping[str, Any] | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            body: Mapping[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            try:
                body = json.load(error)
            except ValueError:
                return None
    except (OSError, ValueError):
        return None
    return body if "checks" in body else None


if __name__ == "__main__":
    sys.exit(main())
