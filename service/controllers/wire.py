"""How requests come off the wire: uvicorn's protocol, bounded where it is not, and with a way past its tasks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 131_072
"""Request line and headers, in bytes. Ours need a few hundred; 500 exclude_ids of 19 digits take 16 kB."""


class Early(Protocol):
    """Answers some requests without a task; see `EarlyAnswers`."""

    def take(self, scope: Any, give: Callable[[bytes, Sequence[bytes]], None], leave: Callable[[], None], /) -> bool: ...


class OurHttp(HttpToolsProtocol):
    """httptools gathers the request line and the headers for as long as a caller sends them: 150 MB of header took 177 MB of
    memory. Here too much of them is a 400 and the end of the connection.

    And what `early` takes is answered past the application, written as uvicorn writes it.
    """

    _in_head = False
    _head_bytes = 0
    _at_work: RequestResponseCycle | None = None
    _idle_since_s: float | None = None

    def __init__(self, *given: Any, early: Early | None = None, **options: Any) -> None:
        super().__init__(*given, **options)
        self._early = early

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
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
        when it rings it looks for how long nothing has come."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._set_alarm(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since_s = None

    def _set_alarm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since_s is None:
            return  # at work; the end of the response sets the alarm
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._set_alarm(left_s)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells the request that came last. Of several in a row it is the first that is being answered, and to write to a
        lost connection raises with uvloop."""
        super().connection_lost(exc)
        if self._at_work is not None and not self._at_work.response_complete:
            self._at_work.disconnected = True
            self._at_work.message_event.set()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
