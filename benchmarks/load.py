"""A load generator light enough to keep one core of a bare uvicorn busy: epoll over kept-alive connections, no framework.

    python -m benchmarks.load PORT --connections 32 --seconds 10 < PATHS             closed loop: what rate is possible
    python -m benchmarks.load PORT --connections 128 --seconds 10 --per-s 1500 < PATHS   open loop: how long people wait

PATHS has one path a line, asked for in turn and over again. Closed loop: each connection asks again as soon as it is answered.
Open loop: requests are due at the times of a Poisson process, whatever the server does, and their time is taken from when they
were due, not from when a connection was free (which would leave out the very waits that matter). Linux only.
"""

import argparse
import gc
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from benchmarks.traffic import arrivals_s, quantile

HOST = "127.0.0.1"
READ_BYTES = 1 << 18
PATIENCE_S = 10.0
"""What is not answered this long after the last request was due has failed."""
ROOT = Path(__file__).parents[1]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask. `per_s` None: closed loop. Ends after `seconds`, or after `requests`, whichever is given and comes first."""

    connections: int
    seconds: float = 3600.0
    requests: int | None = None
    per_s: float | None = None
    seed: int = 7


class Load(msgspec.Struct, frozen=True):
    """What a run showed. `cached` is how many replies said so of themselves; failures are all but 200s."""

    requests: int
    failures: int
    cached: int
    per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    most_ms: float


def drive(port: int, paths: Sequence[str], pace: Pace) -> Load:
    """A run in a process of its own, on the cores of this one."""
    options = [f"--connections={pace.connections}", f"--seconds={pace.seconds}", f"--seed={pace.seed}"]
    options += [] if pace.requests is None else [f"--requests={pace.requests}"]
    options += [] if pace.per_s is None else [f"--per-s={pace.per_s}"]
    command = [sys.executable, "-m", "benchmarks.load", str(port), *options]
    done = subprocess.run(command, cwd=ROOT, input="\n".join(paths).encode(), stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Load)


def answered(data: bytes) -> tuple[bool, bool] | None:
    """Whether a complete answer is a 200, and whether it calls itself cached; None while more of it is to come."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    at = data.find(b"content-length:", 0, end)
    if at < 0:
        at = data[:end].lower().find(b"content-length:")
        if at < 0:
            raise ValueError("an answer without content-length")
    if len(data) < end + int(data[at + 15 : data.find(b"\r", at)]):
        return None
    return data[9:12] == b"200", data.rfind(b'"cached":true') >= 0


class _Connections:
    """Kept-alive connections, known by their file descriptors. One request at a time on each."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}
        self.idle = [self._open() for _ in range(count)]
        self.due_s: dict[int, float] = {}
        self.times_s: list[float] = []
        self.failures = self.cached = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets.values():
            each.close()
        self._epoll.close()

    def _open(self) -> int:
        opened = socket.create_connection((HOST, self._port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.settimeout(PATIENCE_S)
        self._sockets[opened.fileno()] = opened
        self._epoll.register(opened, select.EPOLLIN)
        return opened.fileno()

    def ask(self, request: bytes, due_s: float) -> None:
        number = self.idle.pop()
        self.due_s[number] = due_s
        try:
            self._sockets[number].sendall(request)
        except OSError:
            self._lost(number)

    def hear(self, wait_s: float) -> None:
        """Take in the answers that come within the time, which `select` heeds to the microsecond and epoll to the millisecond."""
        if not select.select([self._epoll], [], [], wait_s)[0]:
            return
        for number, _ in self._epoll.poll(0):
            try:
                data = self._sockets[number].recv(READ_BYTES)
            except OSError:
                data = b""
            if not data:
                self._lost(number)
                continue
            if number in self._parts:
                data = self._parts.pop(number) + data
            told = answered(data)
            if told is None:
                self._parts[number] = data
            else:
                self._done(number, *told)

    def _done(self, number: int, ok: bool, cached: bool) -> None:
        self.times_s.append(time.perf_counter() - self.due_s.pop(number))
        self.failures += not ok
        self.cached += cached
        self.idle.append(number)

    def _lost(self, number: int) -> None:
        """A connection that broke: its request, if it had one, has failed, and another takes its place."""
        self._parts.pop(number, None)
        self._sockets.pop(number).close()  # which unregisters it
        if number in self.due_s:
            self.times_s.append(time.perf_counter() - self.due_s.pop(number))
            self.failures += 1
        else:
            self.idle.remove(number)
        self.idle.append(self._open())

    def give_up(self, never_asked_s: Sequence[float] = ()) -> None:
        """Count what was never answered, and what was due and never asked, with the time that it was waited for."""
        waiting_s = [*self.due_s.values(), *never_asked_s]
        now_s = time.perf_counter()
        self.times_s += [now_s - due_s for due_s in waiting_s]
        self.failures += len(waiting_s)


def closed(port: int, requests: Sequence[bytes], pace: Pace) -> Load:
    """Each connection asks again as soon as it is answered."""
    asked, most = 0, sys.maxsize if pace.requests is None else pace.requests
    with _Connections(port, pace.connections) as connections:
        now_s = begun_s = time.perf_counter()
        while asked < most and now_s - begun_s < pace.seconds:
            for _ in range(min(len(connections.idle), most - asked)):
                connections.ask(requests[asked % len(requests)], now_s)
                asked += 1
            connections.hear(PATIENCE_S)
            now_s = time.perf_counter()
        while connections.due_s and time.perf_counter() - now_s < PATIENCE_S:
            connections.hear(PATIENCE_S)
        connections.give_up()
        return _load(connections, time.perf_counter() - begun_s)


def opened(port: int, requests: Sequence[bytes], pace: Pace) -> Load:
    """Requests at the times of the schedule; those that find no connection free wait, and their clock runs."""
    assert pace.per_s is not None
    asked, due_s = 0, arrivals_s(pace.per_s, pace.seconds, pace.seed)[: pace.requests].tolist()
    with _Connections(port, pace.connections) as connections:
        begun_s = time.perf_counter()
        end_s = due_s[-1] + PATIENCE_S
        while len(connections.times_s) < len(due_s) and (now_s := time.perf_counter() - begun_s) < end_s:
            while asked < len(due_s) and due_s[asked] <= now_s and connections.idle:
                connections.ask(requests[asked % len(requests)], begun_s + due_s[asked])
                asked += 1
            until_s = due_s[asked] if asked < len(due_s) and connections.idle else end_s
            connections.hear(max(0.0, until_s - now_s))
        connections.give_up([begun_s + each_s for each_s in due_s[asked:]])
        return _load(connections, time.perf_counter() - begun_s)


def _load(connections: _Connections, elapsed_s: float) -> Load:
    times_ms = np.sort(np.array(connections.times_s)) * 1000
    quantiles = [round(quantile(times_ms, share), 3) for share in (0.5, 0.9, 0.99, 0.999, 1.0)]
    return Load(len(times_ms), connections.failures, connections.cached, round(len(times_ms) / elapsed_s, 1), *quantiles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=Pace(connections=1).seconds)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--per-s", type=float, help="open loop at this rate")
    parser.add_argument("--seed", type=int, default=7)
    options = vars(parser.parse_args())
    port = options.pop("port")
    pace = Pace(**options)
    requests = [f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode() for path in sys.stdin.read().split()]
    gc.disable()  # a collection among a million floats is a pause of milliseconds, which would look like the server's
    load = closed(port, requests, pace) if pace.per_s is None else opened(port, requests, pace)
    sys.stdout.write(msgspec.json.encode(load).decode() + "\n")


if __name__ == "__main__":
    main()
