"""The container files agree with the settings and with each other. Running them takes Docker: docs/deploy.md."""

import importlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.settings import ROOT, Settings
from standalone.redis_server import find_server
from tests.conftest import RedisServer

yaml: Any = importlib.import_module("yaml")

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU: dict[str, Any] = yaml.safe_load((ROOT / "with-gpu-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {name for name, service in SERVICES.items() if service["restart"] == "no"}
DOCKERFILES = [ROOT / "web" / "Dockerfile", ROOT / "worker" / "Dockerfile"]

#: what the images themselves say, or what is another thing in a container
FIXED = {"HOST", "PORT", "DATA_DIR", "WEIGHTS_DIR", "CATALOG", "ENGINE_CACHE_DIR", "API_KEYS_FILE"}


def defined(path: str) -> set[str]:
    return set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / path).read_text(), re.MULTILINE))


def test_every_setting_reaches_a_container() -> None:
    given = {name for service in ("web", "worker", "weights") for name in SERVICES[service]["environment"]}
    assert {name.upper() for name in Settings.model_fields} - FIXED <= given


def test_containers_know_no_setting_that_does_not_exist() -> None:
    known = {name.upper() for name in Settings.model_fields}
    for service in ("web", "worker", "weights", "webhooks"):
        names = {name for name in SERVICES[service]["environment"] if not name.startswith("AWS_")}
        assert names <= known, service


def test_the_example_has_only_what_is_used() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    given = set(COMPOSE["x-settings"]) | {
        name for service in SERVICES.values() for name in service.get("environment", ())
    }
    for name in defined(".env.example"):
        assert f"${{{name}" in compose or name in given, name


def test_defaults_are_those_of_the_settings() -> None:
    """The example shows defaults; it changes none but what a container needs."""
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, _, value = line.partition("=")
        field = Settings.model_fields.get(name.lower())
        if field is None or name in {"STORAGE_URL", "S3_ENDPOINT_URL", "WORKER_MEMORY_MB"} or not value:
            continue
        assert value == str(field.default).lower(), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "container_name" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["pids"]
    assert ("ports" in service) is (name == "web")
    if name in ONCE:
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "always"
        assert service["healthcheck"]["test"]


def test_what_is_waited_for() -> None:
    for service in SERVICES.values():
        for name, dependency in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if name in ONCE else "service_healthy"
            assert dependency["condition"] == wanted


def test_a_worker_is_given_the_time_it_takes_to_drain() -> None:
    grace = re.search(r"\$\{STOP_GRACE:-(\d+)s\}", SERVICES["worker"]["stop_grace_period"])
    assert grace
    assert int(grace[1]) > Settings.model_fields["drain_timeout"].default + 5


def redis_of_the_containers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """The server as the compose file starts it, but on a Unix socket; passwords are the users' names."""
    (folder / "data").mkdir(parents=True)
    (folder / "redis-server").symlink_to(find_server())
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for user in ("admin", "web", "worker"):
        monkeypatch.setenv(f"REDIS_{user.upper()}_PASSWORD", user)
    shell, flags, script = SERVICES["redis"]["command"]
    script = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", script).replace("$$", "$")
    script = script.replace("/tmp/users.acl", f"{folder}/users.acl").replace("--dir /data", f"--dir {folder}/data")
    socket = folder / "redis.sock"
    return RedisServer(
        f"unix://admin:admin@{socket}", [shell, flags, f"{script.rstrip()} --port 0 --unixsocket {socket}"]
    )


def test_redis_of_the_containers_keeps_what_transactions_wrote_and_lets_no_stranger_in(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = redis_of_the_containers(short_tmp / "compose", monkeypatch)

    def user(name_and_password: str) -> redis.Redis:
        return redis.Redis.from_url(server.url.replace("admin:admin@", name_and_password))

    server.start()
    try:
        with user("web:web@") as web, web.pipeline() as pipeline:
            pipeline.set("dropsight:one", 1).set("dropsight:two", 2).execute()
            web.eval("redis.call('SET', KEYS[1], 3) redis.call('SET', KEYS[2], 4)", 2, "rq:three", "rq:four")
        server.kill(signal.SIGTERM)
        server.start()
        with user("worker:worker@") as worker:
            assert worker.mget("dropsight:one", "dropsight:two", "rq:three", "rq:four") == [b"1", b"2", b"3", b"4"]
            with pytest.raises(redis.exceptions.NoPermissionError):
                worker.set("another", 1)
        with user("admin:admin@") as admin:
            # as whom Redis 7 reads transactions from its file; the server here may be one that asks nobody
            (default,) = [line.split() for line in admin.acl_list() if line.startswith("user default ")]
        assert {"off", "~*", "&*", "+@all"} <= set(default)
        for stranger in ("", "default:@", "default:admin@", "web:worker@"):
            with user(stranger) as nobody, pytest.raises(redis.exceptions.AuthenticationError):
                nobody.get("dropsight:one")
    finally:
        server.kill()


def test_images_are_pinned() -> None:
    for service in SERVICES.values():
        if "build" not in service:
            assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z./]+:(?!latest)[^:}]+\}", service["image"])
    for path in DOCKERFILES:
        text = path.read_text()
        assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-\w+$", text, re.MULTILINE)
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
        assert "--require-hashes" in text
        assert "syntax=" not in text  # it would have to be fetched
        assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)


def test_the_gpu_variant() -> None:
    worker = GPU["services"]["worker"]
    assert worker["build"]["args"]["REQUIREMENTS"] == "worker-jax"
    assert worker["environment"]["KERAS_BACKEND"] == "jax"
    trainer = GPU["services"]["trainer"]
    assert trainer["build"]["args"]["REQUIREMENTS"] == "worker-cuda"
    assert trainer["image"] != worker["image"]
    assert worker["image"] == GPU["services"]["weights"]["image"] != SERVICES["worker"]["image"]
    pins = [re.findall(r"^([\w.-]+==\S+)", (ROOT / path).read_text(), re.MULTILINE) for path in
            ("requirements/worker-jax.txt", "requirements/worker-cuda.txt", "requirements/worker.txt")]  # fmt: skip
    jax, tensorflow, plain = (dict(pin.split("==") for pin in found) for found in pins)
    assert jax["jax"]
    assert tensorflow["tensorflow"]
    for variant in (jax, tensorflow):
        for name in variant.keys() & plain.keys():
            assert variant[name] == plain[name], "one version of each package in all variants"
