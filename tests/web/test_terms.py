"""`priority`, `cancel_after`, `Cancel-After`: how soon a sender wants its jobs."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from shared.jobs import JobState, Priority
from shared.settings import DAY, Settings
from tests.web.conftest import Upload, picture
from web.app import create_app
from web.services import EXTENSION, Services


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"bulk_files": 2})


@pytest.mark.parametrize(
    ("files", "fields", "expected"),
    [
        (1, {}, Priority.INTERACTIVE),
        (2, {}, Priority.INTERACTIVE),
        (3, {}, Priority.BULK),
        (3, {"priority": "interactive"}, Priority.INTERACTIVE),
        (1, {"priority": "bulk"}, Priority.BULK),
    ],
)
def test_many_jobs_may_wait(
    upload: Upload, services: Services, files: int, fields: dict[str, str], expected: Priority
) -> None:
    answer = upload(*[(picture(8, 8 + number), "a.jpg") for number in range(files)], **fields).get_json()
    jobs = answer["jobs"] if files > 1 else [answer]
    records = [services.queue.get(job["id"]) for job in jobs]
    assert [record and record.request.priority for record in records] == [expected] * files
    assert services.queue.lanes.waiting() == ((files, 0) if expected is Priority.INTERACTIVE else (0, files))


def test_each_model_of_a_file_is_a_job(upload: Upload, services: Services) -> None:
    upload(*[(picture(8, 8 + number), "a.jpg") for number in range(2)], model="small,large")
    assert services.queue.lanes.waiting() == (0, 4)


@pytest.mark.parametrize(
    ("fields", "headers", "seconds"),
    [
        ({}, {}, None),
        ({"cancel_after": "60"}, {}, 60),
        ({}, {"Cancel-After": "5"}, 5),
        ({"cancel_after": "60"}, {"Cancel-After": "5"}, 60),
    ],
)
def test_a_deadline(
    upload: Upload, client: FlaskClient, fields: dict[str, str], headers: dict[str, str], seconds: int | None
) -> None:
    answer = upload((picture(8, 8), "a.jpg"), headers=headers, **fields)
    deadline = client.get(f"/jobs/{answer.get_json()['id']}").get_json()["deadline"]
    if seconds is None:
        assert deadline is None
    else:
        assert abs(datetime.fromisoformat(deadline) - datetime.now(UTC) - timedelta(seconds=seconds)).seconds < 5


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "", str(31 * DAY), "9" * 30])
def test_what_is_no_deadline(upload: Upload, services: Services, value: str) -> None:
    photo = (picture(8, 8), "a.jpg")
    answers = [upload(photo, headers={"Cancel-After": value})]
    if value:  # a form's field that is left empty is none
        answers.append(upload(photo, cancel_after=value))
    for answer in answers:
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "invalid_option")
    assert upload(photo, priority="first").status_code == 422
    assert services.queue.waiting() == 0


def test_who_waits_in_vain_is_told_at_the_deadline(upload: Upload, client: FlaskClient, services: Services) -> None:
    job_id = upload((picture(8, 8), "a.jpg"), cancel_after="1").get_json()["id"]
    assert services.queue.expire_due() == 0
    answer = client.get(f"/jobs/{job_id}?wait=4").get_json()
    assert (answer["state"], answer["error"]["code"], answer["position"]) == (JobState.FAILED, "expired", None)
    assert services.queue.waiting() == 0
    assert services.listing.count_by_state()[JobState.FAILED] == 1


@pytest.mark.parametrize("allowed", [True, False])
def test_the_page_has_a_field_for_webhooks_where_they_are_sent(settings: Settings, allowed: bool) -> None:
    secret = SecretStr("whsec_" + "c2VjcmV0" * 6)
    app = create_app(settings.model_copy(update={"allow_webhooks": allowed, "webhook_secret": secret}))
    with app.test_client() as client:
        page = client.get("/", headers={"Accept": "text/html"}).get_data(as_text=True)
        assert ('id="webhook"' in page) is allowed
        assert 'id="cancel_after"' in page
        assert client.get("/models").get_json()["limits"]["webhooks"] is allowed
    app.extensions[EXTENSION].close()
