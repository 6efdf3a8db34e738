import configparser
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.settings import Settings
from standalone import redis_server
from standalone.memory import MB, worker_memory_mb
from standalone.processes import programs, supervisor_config


def test_a_server_is_found_and_is_new_enough() -> None:
    server = redis_server.find_server()
    assert redis_server._version(server) >= redis_server.OLDEST


def test_a_server_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=0 malloc=libc'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert redis_server._version(old) == (5, 0)
    assert redis_server.find_server() != old


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    assert redis_server.socket_path(Path("/tmp/x")) == Path("/tmp/x/redis.sock")
    other = redis_server.socket_path(tmp_path / ("long" * 30))
    assert len(str(other)) < 100
    other.parent.rmdir()


def test_what_runs(tmp_path: Path) -> None:
    settings = Settings(workers=3, data_dir=tmp_path, drain_timeout=7)
    found = {program.name: program for program in programs(settings, ["redis-server"])}
    assert list(found) == ["redis", "web", "worker"]
    assert found["worker"].copies == 3
    assert found["worker"].stop_seconds > 7
    assert found["redis"].priority < found["web"].priority < found["worker"].priority, "Redis ends last"
    assert [program.name for program in programs(Settings(workers=0), None)] == ["web"]
    told = Settings(workers=0, allow_webhooks=True, webhook_secret=SecretStr("whsec_" + "A" * 32))
    assert [program.name for program in programs(told, None)] == ["web", "webhooks"]


def _machine(folder: Path, total_mb: int, **limits_mb: int) -> tuple[Path, Path]:
    """Control groups, the inner one in the outer one, and what the kernel says of memory."""
    cgroup, proc = folder / "cgroup", folder / "proc"
    (cgroup / "outer" / "inner").mkdir(parents=True)
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemFree: 1 kB\nMemTotal:  {total_mb * 1024} kB\n")
    (proc / "self" / "cgroup").write_text("1:cpu:/\n0::/outer/inner\n")
    (cgroup / "outer" / "inner" / "memory.max").write_text("max\n")
    for name, limit in limits_mb.items():
        next(cgroup.rglob(name), cgroup).joinpath("memory.max").write_text(f"{limit * MB}\n")
    return cgroup, proc


def test_workers_share_the_memory_unless_it_is_said(tmp_path: Path) -> None:
    large = _machine(tmp_path / "large", 16_000)
    assert worker_memory_mb(Settings(workers=1), *large) == 12_000
    assert worker_memory_mb(Settings(workers=4), *large) == 3000
    assert worker_memory_mb(Settings(workers=40), *large) == 1500, "less would not do for large photos"
    assert worker_memory_mb(Settings(worker_memory_mb=0), *large) == 0
    assert worker_memory_mb(Settings(worker_memory_mb=700), *large) == 700
    assert worker_memory_mb(Settings(workers=1), *_machine(tmp_path / "small", 1000)) == 850
    assert worker_memory_mb(Settings(workers=2), *_machine(tmp_path / "held", 16_000, outer=4000)) == 1500
    assert worker_memory_mb(Settings(workers=1), *_machine(tmp_path / "own", 16_000, outer=9000, inner=8000)) == 6000
    assert worker_memory_mb(Settings(), tmp_path / "none", tmp_path / "none") == 0


def test_workers_are_told_their_memory_and_nobody_else_is(tmp_path: Path) -> None:
    config = configparser.RawConfigParser()
    config.read_string(supervisor_config(programs(Settings(worker_memory_mb=700), None), tmp_path, tmp_path))
    assert config["program:worker"]["environment"] == 'WORKER_MEMORY_MB="700"'
    assert not config["program:web"]["environment"]


def test_the_configuration_keeps_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "100% 'mine'; x"
    found = programs(Settings(data_dir=folder), [str(folder / "redis-server"), "--dir", str(folder)])
    text = supervisor_config(found, folder, folder)
    config = configparser.RawConfigParser()
    config.read_string(text)
    assert "100%%" in config["program:redis"]["command"]
    assert config["program:worker"]["autorestart"] == "true"
    assert subprocess.run(["sh", "-n", "-c", config["program:redis"]["command"]], check=False).returncode == 0
