import re

import pytest
from pydantic import ValidationError

from shared.errors import CODES, BadInputError, PublicError, TransientError
from shared.jobs import OPTIONS_OF_TASK, PHASES, JobOptions, JobState, cache_key, input_key, new_job_id, result_key
from shared.results import Task
from shared.settings import ROOT, Settings


def test_ids_cannot_be_guessed() -> None:
    ids = {new_job_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", job_id) for job_id in ids)


def test_the_cache_key_tells_apart_all_that_changes_the_answer() -> None:
    options = JobOptions()
    keys = {
        cache_key("a" * 64, "m", "detection", options),
        cache_key("b" * 64, "m", "detection", options),
        cache_key("a" * 64, "n", "detection", options),
        cache_key("a" * 64, "m", "detection", JobOptions(score=0.3)),
        cache_key("a" * 64, "m", "detection", JobOptions(iou=0.3)),
        cache_key("a" * 64, "m", "detection", JobOptions(max_detections=3)),
        cache_key("a" * 64, "m", "detection", options, "anna"),
        cache_key("a" * 64, "m", "detection", options, "bert"),
    }
    assert len(keys) == 8
    assert cache_key("a" * 64, "m", "detection", options) == cache_key(
        "a" * 64, "m", "detection", JobOptions(score=0.25)
    )


def test_options_of_another_task_do_not_count() -> None:
    def key(task: Task, **options: object) -> str:
        return cache_key("a" * 64, "m", task, JobOptions.model_validate(options))

    assert key("detection", top=5, explain=True) == key("detection")
    assert key("classification", score=0.9, iou=0.1) == key("classification")
    changed = {
        key("classification", **options) for options in ({}, {"top": 5}, {"explain": True}, {"explain_class": "a"})
    }
    assert len(changed) == 4


def test_every_option_belongs_to_a_task() -> None:
    assert {name for names in OPTIONS_OF_TASK.values() for name in names} == set(JobOptions.model_fields)


@pytest.mark.parametrize("options", [{"score": 1.01}, {"iou": -1}, {"max_detections": 0}, {"x": 1}, {"score": "nan"}])
def test_options_have_limits(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        JobOptions.model_validate(options)


def test_names_in_storage() -> None:
    assert input_key("1", ".jpg") == "inputs/1.jpg"
    assert result_key("1", "result.json") == "results/1/result.json"


def test_states() -> None:
    assert [state.value for state in JobState if state.is_final] == ["finished", "failed", "canceled"]
    assert PHASES[0] == "fetch"
    assert PHASES[-1] == "store"


def test_errors_know_their_status() -> None:
    error = BadInputError("too_large", "Too large.")
    assert (error.status, str(error), error.retry_after) == (413, "too_large: Too large.", None)
    assert TransientError("queue_down", "Away.", retry_after=5).retry_after == 5
    with pytest.raises(KeyError):
        PublicError("no_such_code", "")


def test_every_code_is_documented() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, flags=re.MULTILINE))
    assert documented == {code: str(int(status)) for code, status in CODES.items()}


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", text, flags=re.MULTILINE))
    assert documented == {name.upper(): field.description for name, field in Settings.model_fields.items()}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("WEIGHTS_DIR", "relative")
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://minio:9000/")
    monkeypatch.setenv("REDIS_URL", "")
    settings = Settings()
    assert settings.port == 8080
    assert settings.weights_dir.is_absolute()
    assert settings.s3_endpoint_url == "http://minio:9000"
    assert settings.redis_url == ""
    assert settings.storage.startswith("file:///")
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(ValidationError):
        Settings()
