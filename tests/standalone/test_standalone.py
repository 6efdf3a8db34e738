import configparser
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.settings import Settings
from standalone import redis_server
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


def test_the_configuration_keeps_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "100% 'mine'; x"
    found = programs(Settings(data_dir=folder), [str(folder / "redis-server"), "--dir", str(folder)])
    text = supervisor_config(found, folder, folder)
    config = configparser.RawConfigParser()
    config.read_string(text)
    assert "100%%" in config["program:redis"]["command"]
    assert config["program:worker"]["autorestart"] == "true"
    assert subprocess.run(["sh", "-n", "-c", config["program:redis"]["command"]], check=False).returncode == 0
