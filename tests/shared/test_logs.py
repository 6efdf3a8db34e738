import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from shared import logs
from shared.logs import JsonFormatter, TextFormatter


@pytest.fixture(autouse=True)
def nothing_yet() -> Iterator[None]:
    """Requests of other tests leave their id."""
    with logs.about(job=None, request=None):
        yield


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.INFO, "file", 1, message, (), None)
    if fields:
        setattr(made, logs.FIELDS, fields)
    return made


def test_a_line_says_what_it_is_about() -> None:
    with logs.about(job="j1", request="r1"):
        assert TextFormatter().format(record("hello")).endswith("INFO a.b: hello [job_id=j1 request_id=r1]")
        line = json.loads(JsonFormatter().format(record("hello", status=200)))
        assert (line["message"], line["level"], line["logger"]) == ("hello", "info", "a.b")
        assert (line["job_id"], line["request_id"], line["status"]) == ("j1", "r1", 200)
        assert line["time"].endswith("+00:00")
    assert TextFormatter().format(record("hello")).endswith("INFO a.b: hello")
    assert "job_id" not in json.loads(JsonFormatter().format(record("hello")))


def test_threads_are_apart() -> None:
    seen: list[str | None] = []
    with logs.about(job="j1", request=None):
        thread = threading.Thread(target=lambda: seen.append(logs.job_id.get()))
        thread.start()
        thread.join()
    assert seen == [None]


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_nobody_forges_a_line(formatter: logging.Formatter) -> None:
    text = formatter.format(record("GET /x\n2026-01-01 ERROR a: forged\r\x1b[31m\u2028"))
    assert not any(line.startswith("2026-01-01 ERROR a:") for line in text.splitlines())
    assert "\r" not in text
    assert "\x1b" not in text


def test_a_traceback_is_kept() -> None:
    try:
        raise KeyError("what")
    except KeyError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    assert "KeyError: 'what'" in json.loads(JsonFormatter().format(made))["exception"]
    assert "\nKeyError: 'what'" in TextFormatter().format(made)


@pytest.mark.parametrize(
    ("sent", "sane"),
    [("abc-1.2_3", True), ("a" * 64, True), ("a" * 65, False), ("", False), (None, False), ("-a", False),
     ("a b", False), ("a\nb", False), ("a\n", False), ("é", False), ("<b>", False)],
)  # fmt: skip
def test_only_sane_ids_are_taken(sent: str | None, sane: bool) -> None:
    assert logs.sane_request_id(sent) == (sent if sane else None)
    assert logs.sane_request_id(logs.new_request_id())


def test_the_log_of_a_process() -> None:
    logs_before = logging.root.handlers[:], logging.root.level
    try:
        logging.config.dictConfig(logs.config("json"))
        assert isinstance(logging.root.handlers[0].formatter, JsonFormatter)
        assert not logging.getLogger("gunicorn.error").handlers
        assert not logging.getLogger("rq.worker").isEnabledFor(logging.INFO)
    finally:
        logging.root.handlers[:], logging.root.level = logs_before
