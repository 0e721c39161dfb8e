"""What a request leaves behind while it is answered, or work beside requests while it is done: its stages, timed whether they
succeed or fail.

One mechanism serves the histograms, Server-Timing and the traces. Each stage leaves its record in the request's recording, and
when the request is over and its trace is wanted, spans are made of the records (`service.tracing`). So a request that turns out
degraded has its whole trace, with true times, though nobody had chosen it; and a request of which no trace is wanted costs no
span: an unsampled one of the SDK's takes 8 us, a record here less than 1.
"""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol

from service.domain import Degradation
from service.errors import StageFailed
from service.metrics import STAGE_SECONDS
from service.samples import GatheredHistogram

Value = str | int | float | bool
Why = Literal["caller", "ratio", "degraded", "failed", "logged"]
"""Why a request's trace is wanted: its caller's is sampled; it is of the share that is; it was degraded; it was answered with a
5xx or not at all; a warning or worse was logged for it. Of work beside requests: as for the request that asked for it; or it
was degraded, has failed, or a warning was logged."""

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Caller(NamedTuple):
    """Whose trace a request is part of."""

    trace_id: int
    span_id: int
    sampled: bool


class Recording:
    """What one request leaves: its stages in the order in which they began, those of its threads among them, and how long those
    that have ended took. `trace_id` 0: none yet. `span_id`: of its own span, once its trace is wanted. `under`: see
    `collect_timings`."""

    __slots__ = ("caller", "span_id", "stages", "started_s", "timings", "trace_id", "under", "why")
    span_id: int

    def __init__(self) -> None:
        self.started_s = time.perf_counter()
        self.timings: dict[str, float] = {}
        self.stages: list[Stage] = []
        self.under: Stage | None = None
        self.caller: Caller | None = None
        self.trace_id = 0
        self.why: Why | None = None

    def want(self, why: Why) -> None:
        """This request's trace shall be sent; the first reason stands. Nothing while there is nowhere to send traces to."""
        if _take is not None and self.why is None:
            self.why = why
            self.trace_id = self.trace_id or random.getrandbits(128) or 1
            self.span_id = random.getrandbits(64) or 1

    def trace_of_line(self, is_grave: bool) -> str | None:
        """The trace id for a log line of this request; a grave line makes the trace wanted."""
        if is_grave:
            self.want("logged")
        return f"{self.trace_id:032x}" if self.trace_id else None


class Stage:
    """A sample in the histogram and a record in the request's recording, whether what is within succeeds or fails.

    A class, since a generator made a context manager costs 1 us more. Once it has ended it holds nothing that leads back to the
    recording: a cycle a stage would keep the garbage collector busy.
    """

    __slots__ = ("_recording", "_token", "attributes", "ended_s", "error", "name", "outer", "started_s")

    def __init__(self, name: str, attributes: Mapping[str, Value] | None) -> None:
        self.name = name
        self.attributes = attributes
        self.outer: Stage | None = None
        self.error: str | None = None
        self.ended_s: float | None = None

    def __enter__(self) -> "Stage":
        self.outer, recording = _around()
        self._recording = recording
        if recording is not None:
            recording.stages.append(self)
        self._token: Token[Stage | Recording | None] | None = _innermost.set(self)
        self.started_s = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, frames: TracebackType | None) -> None:
        self.ended_s = time.perf_counter()
        elapsed_s = self.ended_s - self.started_s
        if kind is not None:
            self.error = kind.__name__
            if isinstance(exc, StageFailed):
                self.tell({"amity.reason": exc.reason})
        if self._token is not None:
            _innermost.reset(self._token)
        _stage_seconds(self.name, self.outcome).observe(elapsed_s)
        if self._recording is not None:
            timings = self._recording.timings
            timings[self.name] = timings.get(self.name, 0.0) + elapsed_s * 1000
        self._recording = self._token = None

    @property
    def outcome(self) -> Literal["ok", "error"]:
        return "ok" if self.error is None else "error"

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """Attributes for its span, also when it has ended. Counts, names of our own and ids; never what people wrote."""
        self.attributes = attributes if self.attributes is None else {**self.attributes, **attributes}

    def preceded_by(self, name: str, until_s: float, attributes: Mapping[str, Value]) -> None:
        """What has gone on within until then was a stage of its own, beside this one, which began there."""
        before = Stage(name, attributes)
        before.outer, before.started_s, before.ended_s = self.outer, self.started_s, until_s
        self.started_s = until_s
        elapsed_s = until_s - before.started_s
        _stage_seconds(name, before.outcome).observe(elapsed_s)
        if self._recording is not None:
            stages, timings = self._recording.stages, self._recording.timings
            stages.insert(stages.index(self), before)
            timings[name] = timings.get(name, 0.0) + elapsed_s * 1000


_innermost: ContextVar[Stage | Recording | None] = ContextVar("innermost_stage", default=None)


def _around() -> tuple[Stage | None, Recording | None]:
    """The stage and the recording in which whatever begins now begins."""
    around = _innermost.get()
    if isinstance(around, Stage):
        return around, around._recording
    return (None, None) if around is None else (around.under, around)


def stage(name: str, attributes: Mapping[str, Value] | None = None) -> Stage:
    """`with stage("ranking") as ranking:` times what is within, and is a span of a request whose trace is wanted."""
    return Stage(name, attributes)


def tell(attributes: Mapping[str, Value]) -> None:
    """Attributes for the span of the innermost stage; nothing outside of any."""
    around = _innermost.get()
    if type(around) is Stage:
        around.tell(attributes)


@cache
def _stage_seconds(name: str, outcome: str) -> GatheredHistogram:
    """The metric of one pair of labels. Looking it up costs half as much as the sample, and there are few."""
    return STAGE_SECONDS.labels(name, outcome)


def note_stage(recording: Recording, name: str, started_s: float) -> Stage:
    """A stage that began then and has succeeded now, for who waited for it in no coroutine."""
    done = Stage(name, None)
    done.started_s, done.ended_s = started_s, time.perf_counter()
    recording.stages.append(done)
    _stage_seconds(name, "ok").observe(done.ended_s - started_s)
    recording.timings[name] = (done.ended_s - started_s) * 1000
    return done


def begin_request(traceparent: bytes | None, ratio: float) -> Recording:
    """A new request begins here: its recording."""
    recording = recording_of(traceparent, ratio)
    record_in(recording)
    return recording


def record_in(recording: Recording) -> None:
    """From here on stages are recorded there."""
    _innermost.set(recording)


def recording_of(traceparent: bytes | None, ratio: float) -> Recording:
    """The recording of a new request. Its trace is wanted when the caller's is, by its `traceparent`, and without one for a share
    of the requests; a caller who has decided against it is followed, unless the request goes wrong."""
    recording = Recording()
    caller = recording.caller = None if traceparent is None else caller_of(traceparent)
    if caller is not None:
        recording.trace_id = caller.trace_id
        if caller.sampled:
            recording.want("caller")
    elif _take is not None and random.random() < ratio:
        recording.want("ratio")
    return recording


def traced() -> Recording | None:
    """The recording of the request in which this is asked, if its trace is wanted by now."""
    _, recording = _around()
    return recording if recording is not None and recording.why is not None else None


@contextmanager
def work_for(asked_by: Recording | None) -> Iterator[Recording]:
    """The recording of work beside requests, in which whatever is within leaves its stages. It is a trace of its own, wanted when
    that of the request which asked for it was, by its caller or by chance; whoever does the work says so if it goes wrong."""
    recording = Recording()
    if asked_by is not None and asked_by.why in ("caller", "ratio"):
        recording.want(asked_by.why)
    token = _innermost.set(recording)
    try:
        yield recording
    finally:
        _innermost.reset(token)


def caller_of(traceparent: bytes) -> Caller | None:
    """What a `traceparent` of the W3C says; None for one that is not valid. The SDK's way takes ten times as long, and behind a
    gateway each request has one."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Caller(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & 1))


def collect_timings() -> dict[str, float]:
    """Collect the stages from here on in a dictionary of its own, in ms by stage; it fills as they end. Their spans stand where
    they would have without: under the innermost stage of the request."""
    own = Recording()
    own.under, recording = _around()
    if recording is not None:
        own.stages = recording.stages
    _innermost.set(own)
    return own.timings


def current_timings() -> dict[str, float]:
    """The stages of this request collected so far, in ms by stage; starts collecting when nobody has."""
    _, recording = _around()
    return collect_timings() if recording is None else recording.timings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trace:
    """A request, or work beside requests, that is over and whose trace is wanted. `name` and `attributes`: of its own span, the
    root of the others. `ended_ns`: since 1970; all other times are of `perf_counter`, and are told from it. `degraded`: what was
    bent. `answered`: a request's method, route and status, as labels; None: work, `asked_by` a request with a trace or not."""

    recording: Recording
    name: str
    ended_s: float
    ended_ns: int
    has_failed: bool
    attributes: Mapping[str, Any]
    degraded: tuple[Degradation, ...] = ()
    answered: tuple[str, str, str] | None = None
    asked_by: Recording | None = None


_take: Callable[[Trace], None] | None = None


def send_traces(take: Callable[[Trace], None] | None) -> None:
    """From now on whoever ends something whose trace is wanted gives it to `take`, which must not wait; None: there are none."""
    global _take
    _take = take


def hand_in(trace: Trace) -> None:
    """Something is over and its trace wanted."""
    if _take is not None:
        _take(trace)


class Progress(Protocol):
    """How long work tells how far it is: a bar on a terminal, plain lines elsewhere. `total` None: not known."""

    def __call__(self, step: str, done: int, total: int | None) -> None: ...


def silent(step: str, done: int, total: int | None) -> None:
    """A Progress for those who do not watch."""
