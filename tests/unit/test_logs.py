"""Log lines: their one form, whichever way they go, and what they never say."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import structlog
import uvloop

from service import logs
from service.logs import configure_logging, reset_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging("auto", "info", stream)
    yield stream
    reset_logging()
    structlog.contextvars.clear_contextvars()
    logs._of_request.set(None)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_log_line_is_one_json_object_with_the_request(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("amity.http").info("recommendations generated", viewer_id=7)
    line = json.loads(lines.getvalue())
    assert (line["event"], line["viewer_id"], line["request_id"], line["level"]) == ("recommendations generated", 7, "r1", "info")
    assert line["timestamp"].endswith("Z")


def test_the_standard_librarys_logs_take_the_same_form(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").warning("slow %s", "down")
    line = json.loads(lines.getvalue())
    assert (line["event"], line["level"]) == ("slow down", "warning")


def fail() -> None:
    raise KeyError("Alice from Springfield")


@pytest.mark.parametrize("message", ["it failed", "it failed: {exc}", "it failed\nexception={exc!r}"])
def test_an_exception_is_logged_by_its_type_and_its_frames_never_by_its_message(lines: io.StringIO, message: str) -> None:
    try:
        fail()
    except KeyError as exc:
        logging.getLogger("asyncio").error(message.format(exc=exc), exc_info=True)
        structlog.get_logger("amity").error(message.format(exc=exc), exc_info=exc)
    for line in map(json.loads, lines.getvalue().splitlines()):
        assert line["event"].startswith("it failed")
        assert (line["error_type"], "exc_info" in line) == ("KeyError", False)
        assert re.fullmatch(r"test_logs\.py:\d+ fail", line["frames"][-1])
    assert lines.getvalue().count("\n") == 2
    assert "Alice" not in lines.getvalue()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_callback_that_failed_is_logged_without_what_it_was_given(lines: io.StringIO, make_loop: Any) -> None:
    def fail_on(person: str) -> None:
        fail()

    loop = make_loop()
    loop.call_soon(fail_on, "Alice")
    loop.call_soon(partial(fail_on, "Alice"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert lines.getvalue().count("Exception in callback") == 2
    assert "Alice" not in lines.getvalue()


def test_lines_below_the_level_are_left_out(lines: io.StringIO) -> None:
    structlog.get_logger("amity.http").debug("probe answered")
    logging.getLogger("urllib3").debug("connecting")
    assert lines.getvalue() == ""


class InTrace:
    """A request of this trace, or of one as soon as something grave is said."""

    def __init__(self, trace_id: str | None = None) -> None:
        self.trace_id = trace_id

    def trace_of_line(self, is_grave: bool) -> str | None:
        self.trace_id = self.trace_id or ("made" if is_grave else None)
        return self.trace_id


def test_lines_of_a_request_bear_its_trace_from_the_first_grave_one_on(lines: io.StringIO) -> None:
    logs.begin_request("r1", InTrace())
    log = structlog.get_logger("amity.recommend")
    log.info("plain")
    log.error("unexpected error")
    log.info("plain")
    logs.answered("info", "recommendations generated", dict(FIELDS))
    told = [(line["request_id"], line.get("trace_id")) for line in map(json.loads, lines.getvalue().splitlines())]
    assert told == [("r1", None), ("r1", "made"), ("r1", "made"), ("r1", "made")]


def test_a_library_that_warns_makes_the_trace_too(lines: io.StringIO) -> None:
    logs.begin_request("r1", InTrace())
    logging.getLogger("asyncio").warning("slow")
    assert json.loads(lines.getvalue())["trace_id"] == "made"


FIELDS: dict[str, Any] = {"method": "GET", "status": 200, "duration_ms": 0.25, "viewer_id": 7, "cached": True, "degraded": []}


def test_an_answered_request_leaves_the_very_line_that_structlog_would_write(lines: io.StringIO) -> None:
    logs.begin_request("r1", InTrace("abc"))
    logs.answered("info", "recommendations generated", dict(FIELDS))
    structlog.get_logger("amity.http").info("recommendations generated", **FIELDS)
    short, long = (json.loads(line) for line in lines.getvalue().splitlines())
    assert list(short) == list(long)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", short.pop("timestamp"))
    long.pop("timestamp")
    assert (
        short == long == FIELDS | {"event": "recommendations generated", "request_id": "r1", "trace_id": "abc", "level": "info"}
    )


def test_an_answered_probe_is_left_out_unless_asked_for(lines: io.StringIO) -> None:
    logs.answered("debug", "request answered", dict(FIELDS))
    assert lines.getvalue() == ""
    configure_logging("json", "debug", lines)
    logs.answered("debug", "request answered", dict(FIELDS))
    assert json.loads(lines.getvalue())["level"] == "debug"


def test_an_answered_request_is_written_to_the_bytes_below_a_text_stream(lines: io.StringIO) -> None:
    below = io.BytesIO()
    stream = io.TextIOWrapper(below, encoding="utf-8")
    configure_logging("json", "info", stream)
    structlog.get_logger("amity").info("before")
    logs.answered("info", "request answered", {"status": 200})
    assert [json.loads(line)["event"] for line in below.getvalue().splitlines()] == ["before", "request answered"]
    stream.detach()


def test_on_a_terminal_an_answered_request_is_text(lines: io.StringIO) -> None:
    configure_logging("console", "info", lines)
    logs.answered("info", "request answered", {"status": 200})
    assert "request answered" in lines.getvalue()
    assert not lines.getvalue().startswith("{")


def test_what_is_captured_is_not_written(lines: io.StringIO) -> None:
    with structlog.testing.capture_logs() as captured:
        logs.answered("info", "request answered", {"status": 200})
    assert ([line["status"] for line in captured], lines.getvalue()) == ([200], "")
