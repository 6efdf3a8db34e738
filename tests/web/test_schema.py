"""The API against its own description: whatever is sent, no 5xx, and no answer that the description does not have."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from apiflask import APIFlask
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.jobs import JobOptions, new_job_id
from shared.runs import RunRequest
from shared.settings import Settings
from shared.streams import StreamOptions, StreamRequest
from shared.trainings import REPORT_DOCUMENT, StoredDataset, TrainingRequest, training_key
from tests.web.conftest import PlayedWorker, Upload, announce, picture
from web.results import ARTIFACTS
from web.services import Services

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = 40
SEEDS = 5


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allow_training": True, "allow_streams": True})


def queue_training(services: Services, name: str) -> str:
    request = TrainingRequest(
        id=new_job_id(),
        run=RunRequest(kind="detection", name=name),
        data=StoredDataset(name="a", key="datasets/a/", filename="a"),
        created_at=datetime.now(UTC),
    )
    services.trainings.submit(request)
    services.storage.put(training_key(request.id, REPORT_DOCUMENT), b"{}")
    return request.id


def queue_stream(services: Services) -> str:
    """A stream that has ended: the frames of another would come for ever."""
    request = StreamRequest(
        id=new_job_id(),
        url="http://a/",
        model="small",
        options=JobOptions(),
        stream=StreamOptions(),
        created_at=datetime.now(UTC),
    )
    services.streams.submit(request, "http://a/")
    services.streams.stop(request.id)
    return request.id


def test_a_form_can_be_sent_as_it_is_described(app: APIFlask, upload: Upload, services: Services) -> None:
    """A page that is made of the document fills in what it has as a default, and may send the rest empty."""
    announce(services, "small")
    document = app.test_client().get("/openapi.json").get_json()
    for name in ("UploadForm", "AgainForm", "TrainingForm", "StreamForm"):
        for field, described in document["components"]["schemas"][name]["properties"].items():
            assert described.get("default", "") is not None, (name, field)
            assert "type" in described, (name, field)
    fields = document["components"]["schemas"]["UploadForm"]["properties"]
    assert next(iter(fields)) == "file"
    filled = {name: str(field.get("default", "")) for name, field in fields.items() if name != "file"}
    assert upload((picture(8, 8), "a.jpg"), **filled).status_code == 202
    assert upload((picture(8, 8), "a.jpg"), **dict.fromkeys(filled, "")).status_code == 202
    assert upload((picture(8, 8), "a.jpg"), fps="null").status_code == 422
    done = document["paths"]["/upload"]["post"]["responses"]["200"]["content"]["application/json"]
    assert done["example"]["state"] == "finished"


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_described(
    app: APIFlask, services: Services, upload: Upload, played: PlayedWorker, mode: GenerationMode
) -> None:
    """Requests that fit the description, and such that do not; the service is in use."""
    announce(services, "small")
    finished = upload((picture(8, 8), "a.jpg")).get_json()["id"]
    played.finish(finished)
    ids = [None, finished, upload((picture(9, 9), "b.jpg")).get_json()["id"]]
    trainings = [None, *(queue_training(services, name) for name in ("one", "two"))]
    names = [None, "original", *ARTIFACTS]
    streams = [None, queue_stream(services)]
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    statuses: Counter[str] = Counter()
    failures = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        announce(services, "small")  # anew: all of it takes longer than a worker may be silent

        @given(
            case=operation.as_strategy(generation_mode=mode),
            job_id=st.sampled_from(ids),
            name=st.sampled_from(names),
            training_id=st.sampled_from(trainings),
            stream_id=st.sampled_from(streams),
        )
        @hypothesis_settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case[Any], **ids: str | None) -> None:
            for parameter, value in ids.items():
                if parameter in case.path_parameters and value is not None:
                    case.path_parameters[parameter] = value
            response = case.call()
            statuses[str(response.status_code)] += 1
            case.validate_response(response, checks=CHECKS)

        try:
            _with_some_seed(ask)
        except Unsatisfiable:
            continue  # nothing about it that could be wrong
        except (FailureGroup, Failure) as failure:
            reasons = "\n".join(map(str, getattr(failure, "exceptions", ())))
            failures.append(f"{operation.label}: {failure}\n{reasons}")
    print(f"{mode.value}: {statuses.total()} requests, {dict(statuses.most_common())}")
    assert not failures, "\n\n".join(failures)
    assert statuses.total() > 50


def _with_some_seed(ask: Callable[[], None]) -> None:
    """Ask with the first seed that the generator can go through with.

    Schemathesis 4.32 fails over a file in a form now and then, before anything is asked of us.
    """
    for number in range(SEEDS):
        try:
            seed(number)(ask)()
        except ValueError as error:
            if "Unsupported type: 'Binary'" not in str(error) or number == SEEDS - 1:
                raise
        else:
            return
