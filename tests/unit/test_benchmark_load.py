"""The load generator counts what a server did, and leaves out no wait of those who came while it stood still."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from benchmarks import load
from benchmarks.load import Pace, answered, closed, opened

ASK = [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"]


def reply(body: bytes, status: int = 200, name: bytes = b"content-length") -> bytes:
    return b"HTTP/1.1 %d OK\r\n%s: %d\r\n\r\n%s" % (status, name, len(body), body)


@contextlib.contextmanager
def serving(answer: Callable[[int], bytes]) -> Iterator[int]:
    """A server that answers its nth request, over any connection, with `answer(n)`; nothing: it hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    lock, count = threading.Lock(), iter(range(1_000_000))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # who asked has given up
            while connection.recv(65536):
                with lock:
                    said = answer(next(count))
                if not said:
                    return
                connection.sendall(said)

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener is shut at the end
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_an_answer_is_whole_when_its_last_byte_is_there() -> None:
    whole = reply(b'{"cached":true}')
    assert answered(whole) == (True, True)
    assert answered(whole[:-1]) is None
    assert answered(whole[:20]) is None


def test_an_answer_is_read_however_its_headers_are_written() -> None:
    assert answered(reply(b"{}", 503, b"Content-Length")) == (False, False)


def test_an_answer_of_unknown_length_is_refused() -> None:
    with pytest.raises(ValueError, match="content-length"):
        answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


def test_a_closed_loop_asks_as_often_as_told_and_counts_failures_and_hits() -> None:
    with serving(lambda n: reply(b'{"cached":true}' if n % 2 else b"{}", 500 if n % 10 == 0 else 200)) as port:
        seen = closed(port, ASK, Pace(connections=3, requests=100))
    assert (seen.requests, seen.failures, seen.cached) == (100, 10, 50)


def test_a_server_that_hangs_up_is_a_failure_and_not_the_end() -> None:
    with serving(lambda n: b"" if n == 5 else reply(b"{}")) as port:
        seen = closed(port, ASK, Pace(connections=2, requests=20))
    assert (seen.requests, seen.failures) == (20, 1)


def test_an_open_loop_counts_the_waits_of_those_who_came_while_the_server_stood_still() -> None:
    """One pause of 0.5 s within one second at 200/s: in a closed loop one request would have waited, here about 100."""

    def pausing(n: int) -> bytes:
        if n == 60:
            time.sleep(0.5)
        return reply(b"{}")

    with serving(pausing) as port:
        seen = opened(port, ASK, Pace(connections=2, seconds=1.0, per_s=200))
    assert seen.failures == 0
    assert seen.p90_ms > 200


def test_an_open_loop_counts_as_failed_what_was_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_S", 0.2)

    def silent_from_the_third_on(n: int) -> bytes:
        if n >= 2:
            time.sleep(1.5)
        return reply(b"{}")

    with serving(silent_from_the_third_on) as port:
        seen = opened(port, ASK, Pace(connections=1, seconds=0.2, per_s=100))
    assert seen.requests > 5
    assert seen.failures >= seen.requests - 2
