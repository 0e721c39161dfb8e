"""Log lines: one an event on standard error, JSON or text for a terminal. Never what people wrote.

The line that each answered request leaves goes a short way where lines are JSON: 3 us, where structlog takes 13.
"""

import asyncio
import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TextIO

import msgspec
import structlog

_ENCODER = msgspec.json.Encoder(enc_hook=repr)
_ANSWERS = structlog.get_logger("amity.http")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}

_QUOTED = re.compile(r"\n|<|\((?!\))")
"""Where asyncio begins to quote: a line of its own, a representation, arguments."""

_GRAVE = frozenset({"warning", "error", "critical", "exception"})


class Traced(Protocol):
    """Knows whose trace a request, or work beside requests, is part of."""

    def trace_of_line(self, is_grave: bool) -> str | None: ...


_of_request: ContextVar[tuple[str | None, Traced] | None] = ContextVar("log_fields_of_request", default=None)


def begin_request(request_id: str, traced: Traced) -> None:
    """From here on every line of this request bears its id and, once it has one, its trace's. One variable set: structlog's own
    way costs three times as much, for lines that most requests never write."""
    _of_request.set((request_id, traced))


def lines_of_work(traced: Traced) -> AbstractContextManager[None]:
    """Every line within bears the trace's id, once there is one: of work beside requests, which has no other."""
    return _as_begun((None, traced))


def _add_request(fields: MutableMapping[str, Any], level: str, told: tuple[str | None, Traced] | None) -> None:
    if told is None:
        return
    request_id, traced = told
    if request_id is not None:
        fields.setdefault("request_id", request_id)
    if (trace_id := traced.trace_of_line(level in _GRAVE)) is not None:
        fields.setdefault("trace_id", trace_id)


@contextmanager
def _as_begun(of_request: tuple[str | None, Traced] | None) -> Iterator[None]:
    token = _of_request.set(of_request)
    try:
        yield
    finally:
        _of_request.reset(token)


def answered(
    level: Literal["debug", "info"], event: str, fields: dict[str, Any], of_request: tuple[str, Traced] | None = None
) -> None:
    """The one line of an answered request. `fields` is ours to fill up; its values are ids, counts, names of our own.
    `of_request`: what `begin_request` is told, where it was not called."""
    direct, told = _direct, of_request or _of_request.get()
    if direct is None or not direct.stands:
        with _as_begun(told):
            getattr(_ANSWERS, level)(event, **fields)
    elif _LEVELS[level] >= direct.level:
        fields["event"] = event
        _add_request(fields, level, told)
        fields["level"] = level
        fields["timestamp"] = datetime.now(UTC)
        direct.write(_ENCODER.encode(fields))


class _Direct:
    """The short way to a stream, for as long as structlog's processors are as we put them: tests capture lines by changing
    them in place."""

    def __init__(self, stream: TextIO, level: int, processors: list[Any]) -> None:
        self.level = level
        self._lines: list[bytes] = []
        self._stream = stream
        self._bytes: Any = getattr(stream, "buffer", None)
        self._processors = processors
        self._renderer = processors[-1]

    @property
    def stands(self) -> bool:
        return self._processors[-1] is self._renderer

    def write(self, line: bytes) -> None:
        """Each line whole, so that those of several threads do not mix, and those of one turn of the event loop together:
        requests that shared a look at Redis are answered in one, and a line by itself costs 4 us of system call."""
        if self._bytes is None:
            self._stream.write(line.decode() + "\n")
            return
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._flush)
            except RuntimeError:  # there is none
                self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._bytes.write(b"\n".join(lines) + b"\n")
        self._bytes.flush()


_direct: _Direct | None = None


def frames_of(exc: BaseException) -> list[str]:
    """Where it was raised, `file:line function`, the innermost last and twelve at most."""
    frames = traceback.extract_tb(exc.__traceback__)[-12:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def configure_logging(log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """One line an event on standard error: JSON, or coloured text on a terminal. The standard library's logs go the same way."""
    global _direct
    stream = stream if stream is not None else sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if console else structlog.processors.JSONRenderer(_json)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _with_request,
        structlog.processors.add_log_level,
        _without_values,
        _without_message,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    level = logging.getLevelNamesMapping()[log_level.upper()]
    processors = [*shared, renderer]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        # Loggers are made at import, before settings are known; a cached one would keep the first configuration for ever.
        cache_logger_on_first_use=False,
    )
    _direct = None if console else _Direct(stream, level, processors)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))


def reset_logging() -> None:
    """As before `configure_logging`."""
    global _direct
    _direct = None
    structlog.reset_defaults()


def _json(line: Any, **_: Any) -> str:
    return _ENCODER.encode(line).decode()


def _with_request(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    _add_request(event, level, _of_request.get())
    return event


def _without_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """asyncio's lines and uvloop's up to where they quote a callback with all that it was given, or a task."""
    record = event.get("_record")
    if record is not None and record.name == "asyncio":
        event["event"] = _QUOTED.split(str(event["event"]), maxsplit=1)[0].rstrip()
    return event


def _without_message(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`exc_info` as the exception's type, its cause's and its frames. Never its message, which may quote what people wrote; where
    the line itself quotes it, as asyncio's do, only the line's beginning stays."""
    given = event.pop("exc_info", None)
    exc = given[1] if isinstance(given, tuple) else sys.exception() if given is True else given
    if not isinstance(exc, BaseException):
        return event
    event["event"] = str(event["event"]).partition("\n")[0]
    if message := str(exc):
        event["event"] = event["event"].partition(message)[0]
    cause = exc.__cause__ or exc.__context__
    return {**event, "error_type": type(exc).__name__, "cause_type": type(cause).__name__, "frames": frames_of(exc)}
