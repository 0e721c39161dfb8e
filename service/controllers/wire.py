"""How requests come off the wire: uvicorn's protocol, bounded where it is not, and with a way past its tasks."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from heapq import nsmallest
from typing import Any, Protocol, cast

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 131_072
"""Request line and headers, in bytes. Ours need a few hundred; 500 exclude_ids of 19 digits take 16 kB."""
HEAD_S = 10.0
"""From the first byte of a head to its last. Most come in one piece, and what is lost on the way is sent again within seconds."""
TAKE_S = 30.0
"""For a caller to take what has been written, once that is more than 64 KiB beyond what the kernel holds."""

_LOG = structlog.get_logger("amity.http")


class Early(Protocol):
    """Answers some requests without a task; see `EarlyAnswers`."""

    def take(self, scope: Any, give: Callable[[bytes, Sequence[bytes]], None], leave: Callable[[], None], /) -> bool: ...


class OurHttp(HttpToolsProtocol):
    """httptools gathers the request line and the headers for as long as a caller sends them: 150 MB of header took 177 MB of
    memory, and a caller who never ended them kept the connection for ever. Here too much of them is a 400, too long over them a
    408, and both the end of the connection. So is taking no answers, for which uvicorn waits for ever too. A connection on which
    nothing has been asked yet is idle like one that was answered: balancers and browsers open them ahead of need.

    And what `early` takes is answered past the application, written as uvicorn writes it.
    """

    _in_head = False
    _head_bytes = 0
    _due_s = 0.0
    _at_work: RequestResponseCycle | None = None

    def __init__(self, *given: Any, at_most: int, early: Early | None = None, **options: Any) -> None:
        """`at_most`: connections of the server."""
        super().__init__(*given, **options)
        self._early = early
        self._at_most = at_most

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._rest()
        if len(self.connections) > self._at_most:
            self._make_room()

    def _make_room(self) -> None:
        """End those of the connections waiting for their callers whose time is up soonest; a sixteenth at once, since to look at
        thousands takes milliseconds. The new one is not refused: it may be a probe's, and most likely asks for something. Hence
        not uvicorn's `limit_concurrency`, which counts the idle too, and then answers 503 to everybody on whatever connection.
        """
        every = cast("set[OurHttp]", self.connections)
        waiting = [one for one in every if one._waits() or one.cycle.more_body]
        ended = nsmallest(1 + len(every) // 16, waiting, key=lambda one: one._due_s)
        for one in ended:
            every.discard(one)  # at once: several may come before this one is told that it is lost
            one.transport.abort()
        _LOG.warning("connections ended", reason=f"more than {self._at_most} were open", count=len(ended))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            if not self._head_bytes:
                self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._at_work = cycle
        start = partial(super()._start_asgi_task, cycle, app)
        early = self._early
        if early is None or self.flow.write_paused or not early.take(cycle.scope, partial(self._give, cycle), start):
            start()

    def _give(self, cycle: RequestResponseCycle, headers: bytes, body: Sequence[bytes]) -> None:
        """Write a 200, as `RequestResponseCycle.send` does."""
        if cycle.disconnected:
            return
        own = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.writelines((STATUS_LINE[200] + own + headers + end, *body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but that the alarm for idle connections is not set anew and cancelled for each request, which takes 2 us:
        when it rings it looks for how long nothing has been asked."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._rest()

    def _rest(self) -> None:
        """Nothing is at work. A part of the next request may have come with the one before."""
        if self._in_head:
            self._expect_head()
            return
        self._due_s = self.loop.time() + self.timeout_keep_alive
        if self.timeout_keep_alive_task is None:
            self._set_alarm(self.timeout_keep_alive)

    def _expect_head(self) -> None:
        """All of it, from now."""
        self._wait_no_longer_than(HEAD_S)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_no_longer_than(TAKE_S)

    def _wait_no_longer_than(self, seconds: float) -> None:
        """From now: sooner than the alarm of an idle connection would ring."""
        self._due_s = self.loop.time() + seconds
        self._cancel_alarm()
        self._set_alarm(seconds)

    def _unset_keepalive_if_required(self) -> None:
        """Called whenever anything comes. Empty lines, and the rest of a body that nobody read, are no request: the connection is
        as idle as it was."""

    def _set_alarm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _cancel_alarm(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self._waits():
            return  # the end of the response sets the alarm
        left_s = self._due_s - self.loop.time()
        if left_s > 0:
            self._set_alarm(left_s)
        elif self._in_head and not self.flow.write_paused and not self.transport.is_closing():
            self._refuse_late_head()
        else:
            self.transport.abort()  # `close` would wait for a caller who takes nothing

    def _waits(self) -> bool:
        """For its caller: to ask, or to take what was answered."""
        return self.cycle is None or self.cycle.response_complete or self.flow.write_paused

    def _refuse_late_head(self) -> None:
        """As `send_400_response` does."""
        own = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        self.transport.write(STATUS_LINE[408] + own + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells the request that came last. Of several in a row it is the first that is being answered, and to write to a
        lost connection raises with uvloop."""
        super().connection_lost(exc)
        if self._at_work is not None and not self._at_work.response_complete:
            self._at_work.disconnected = True
            self._at_work.message_event.set()
        self._cancel_alarm()
