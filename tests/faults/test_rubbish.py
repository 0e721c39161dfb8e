"""Rubbish on the wire: never a defect, never the end of the server, and never at the cost of the next caller."""

import contextlib
import json
import random
import socket
from collections.abc import Iterator

import pytest

from tests.faults.conftest import World
from tests.replicas import Replica

RECOMMENDATIONS = b"/api/v1/recommendations/users/1/recommendations"
HUGE = b"9" * 5000


@pytest.fixture(scope="module")
def replica(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with Replica(world.settings, tmp_path_factory.mktemp("rubbish") / "replica.log") as started:
        yield started
        assert started.metric("amity_unexpected_errors_total") == 0, started.said
        assert "Traceback" not in started.said


def exchange(replica: Replica, request: bytes, patience_s: float = 30.0) -> bytes:
    """What comes back until the server closes or, with less patience, has nothing to say: it may be waiting for more."""
    with socket.create_connection(replica.address, timeout=patience_s) as connection:
        received = b""
        with contextlib.suppress(ConnectionError, TimeoutError):  # the server may hang up on rubbish at any time
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        return received


def get(path: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers + b"\r\n"


def post(path: bytes, body: bytes, kind: bytes = b"application/json") -> bytes:
    length = str(len(body)).encode()
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: " + kind
    return head + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def in_the_one_shape(answer: bytes) -> bool:
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    return set(body) == {"error", "detail", "request_id"}


NOT_HTTP = {
    "words": b"hello there\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(40),
    "NULs": bytes(5000),
    "a header without a name": b"GET / HTTP/1.1\r\n: a\r\n\r\n",
    "a header with a NUL": b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "raw bytes": b"GET /\xff\xfe?gender=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two lengths": b"POST /api/v1/interactions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a length that is none": b"POST /api/v1/interactions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
    "an enormous length": b"POST /api/v1/interactions HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + HUGE + b"\r\n\r\n{}",
    "a chunk that is none": b"POST /api/v1/interactions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "huge headers": b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 2_000_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: a\r\n" * 20_000 + b"\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http_ends_the_connection_and_nothing_else(replica: Replica, name: str) -> None:
    answer = exchange(replica, NOT_HTTP[name], patience_s=0.5)
    assert not answer or 400 <= status(answer) < 500, answer[:500]
    assert replica.client.get("/health/live").status_code == 200


@pytest.mark.parametrize("part", ["line", "header", "headers"])
def test_a_head_without_end_is_cut_off(replica: Replica, part: str) -> None:
    start, more = {
        "line": (b"GET /", b"a"),
        "header": (b"GET / HTTP/1.1\r\nX-Long: ", b"a"),
        "headers": (b"GET / HTTP/1.1\r\n", b"X-Many: a\r\n"),
    }[part]
    sent_bytes, endless = 0, more * (100_000 // len(more))
    with socket.create_connection(replica.address, timeout=30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(start)
        while sent_bytes < 50_000_000:
            connection.sendall(endless)
            sent_bytes += len(endless)
    assert sent_bytes < 50_000_000
    assert replica.client.get("/health/live").status_code == 200


ODD_REQUESTS = {
    "1,000 parameters": (get(RECOMMENDATIONS + b"?" + b"&".join(b"p%d=1" % i for i in range(1000))), 422),
    "1,000 exclusions": (get(RECOMMENDATIONS + b"?" + b"&".join(b"exclude_ids=%d" % i for i in range(1, 1001))), 422),
    "an enormous limit": (get(RECOMMENDATIONS + b"?limit=" + HUGE), 422),
    "an enormous age": (get(RECOMMENDATIONS + b"?min_age=-" + HUGE), 422),
    "an infinite distance": (get(RECOMMENDATIONS + b"?max_km=1e999"), 422),
    "a distance that is none": (get(RECOMMENDATIONS + b"?max_km=nan"), 422),
    "no UTF-8": (get(RECOMMENDATIONS + b"?gender=%ff%fe"), 422),
    "a NUL": (get(RECOMMENDATIONS + b"?gender=%00"), 422),
    "a lone surrogate": (get(RECOMMENDATIONS + b"?gender=%ed%a0%80"), 422),
    "an enormous id": (get(b"/api/v1/recommendations/users/" + HUGE + b"/recommendations"), 422),
    "an id of other digits": (get(b"/api/v1/users/%D9%A1%D9%A2"), 422),
    "5,000 brackets": (post(b"/api/v1/interactions", b"[" * 5000), 400),
    "5,000 objects": (post(b"/api/v1/interactions", b'{"a":' * 5000), 400),
    "half a text": (post(b"/api/v1/interactions", b'{"interactions": "'), 400),
    "no JSON": (post(b"/api/v1/interactions", b"\x00\xff\xfe"), 400),
    "JSON that is no UTF-8": (post(b"/api/v1/users/batch", b'{"users": [{"id": 900, "name": "\xff\xfe"}]}'), 400),
    "an escaped lone surrogate": (post(b"/api/v1/users/batch", rb'{"users": [{"id": 900, "name": "\ud800"}]}'), 422),
    "an enormous integer": (post(b"/api/v1/users/batch", b'{"users": [{"id": ' + HUGE + b', "name": "A"}]}'), 422),
    "an enormous float": (post(b"/api/v1/users/batch", b'{"users": [{"id": 1e999, "name": "A"}]}'), 422),
    "nothing": (post(b"/api/v1/interactions", b""), 400),
    "another kind": (post(b"/api/v1/interactions", b"<a/>", b"text/xml"), 415),
    "a kind that is none": (post(b"/api/v1/interactions", b"{}", b";;;=\xff"), 415),
}


@pytest.mark.parametrize("name", ODD_REQUESTS)
def test_odd_requests_get_the_status_of_what_is_wrong(replica: Replica, name: str) -> None:
    request, expected = ODD_REQUESTS[name]
    answer = exchange(replica, request)
    assert status(answer) == expected, answer[:500]
    assert in_the_one_shape(answer)


def test_half_a_body_and_silence_hold_up_nobody(replica: Replica) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            silent = stack.enter_context(socket.create_connection(replica.address, timeout=30))
            silent.sendall(post(b"/api/v1/interactions", b"{" + b" " * 100)[:-50])
        assert replica.recommend(1)["total_count"] == 20
    assert replica.client.get("/health/live").status_code == 200


def test_requests_in_a_row_on_one_connection_are_answered_in_order(replica: Replica) -> None:
    one = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: number-%d\r\n\r\n"
    with socket.create_connection(replica.address, timeout=30) as connection:
        connection.sendall(b"".join(one % turn for turn in range(20)))
        received = b""
        while b"number-19" not in received:
            received += connection.recv(65536)
    assert [int(part[:2].strip()) for part in received.lower().split(b"x-request-id: number-")[1:]] == list(range(20))


@pytest.mark.parametrize("seed", range(3))
def test_bytes_at_random_are_no_defects(replica: Replica, seed: int) -> None:
    rng = random.Random(seed)
    whole = post(b"/api/v1/interactions", b'{"interactions": [{"actor_id": 1, "target_id": 2, "kind": "like"}]}')
    n_answered = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        answer = exchange(replica, bytes(damaged), patience_s=0.3)
        assert not answer or status(answer) < 500, (bytes(damaged), answer[:500])
        n_answered += bool(answer)
    assert n_answered > 20
    assert replica.client.get("/health/live").status_code == 200
