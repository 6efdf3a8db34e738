"""The container files agree with the settings and with each other. Running them takes Docker: docs/deploy.md."""

import importlib
import re
from typing import Any

import pytest

from shared.settings import ROOT, Settings

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
    assert worker["build"]["args"]["REQUIREMENTS"] == "worker-cuda"
    assert worker["image"] == GPU["services"]["weights"]["image"] != SERVICES["worker"]["image"]
    pins = [re.findall(r"^([\w.-]+==\S+)", (ROOT / path).read_text(), re.MULTILINE) for path in
            ("requirements/worker-cuda.txt", "requirements/worker.txt")]  # fmt: skip
    versions = [dict(pin.split("==") for pin in found) for found in pins]
    assert versions[0]["tensorflow"]
    for name in versions[0].keys() & versions[1].keys():
        assert versions[0][name] == versions[1][name], "one version of each package in both variants"
