"""HTTP to a replica with as little between a moment and the wire as can be: what is held to 0 ms must be timed by its sender."""

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

IDLE_S = 2.0
"""Connections idle for longer are not used again: uvicorn closes them after 5 s, perhaps while a write is on its way."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`begun_s` is before the first byte was sent, `ended_s` after the last one came, both by `time.monotonic`."""

    status: int
    headers: dict[str, str]
    body: Any
    begun_s: float
    ended_s: float


class Wire:
    """Any number of concurrent requests to one replica, each on a connection of its own, kept for the next."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._idle: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._idle:
            idle = self._idle.pop()  # by a name: a writer that is not held warns before it is aborted
            idle[2].transport.abort()

    async def open(self, count: int) -> None:
        """Connect ahead, so that so many requests leave at one moment."""
        opened = await asyncio.gather(*(asyncio.open_connection(*self._address) for _ in range(count)))
        self._idle.extend((time.monotonic(), reader, writer) for reader, writer in opened)

    async def get(self, path: str, **query: Any) -> Reply:
        words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        return await self.ask("GET", f"{path}?{urlencode(words, doseq=True)}" if words else path)

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """One request and its reply. Raises ConnectionError or IncompleteReadError when the replica dies over it."""
        reader, writer, is_used = await self._connection()
        content = b"" if body is None else json.dumps(body).encode()
        kind = "" if body is None else "Content-Type: application/json\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(content)}\r\n\r\n"
        try:
            begun_s = time.monotonic()
            writer.write(head.encode() + content)
            status, headers, received = await _reply(reader)
            ended_s = time.monotonic()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
            if is_used and method == "GET":  # it may have been closed for idleness on a machine that stood still
                return await self.ask(method, path)
            raise
        except BaseException:
            writer.transport.abort()
            raise
        self._idle.append((ended_s, reader, writer))
        return Reply(status, headers, json.loads(received) if received else None, begun_s, ended_s)

    async def recommend(self, viewer_id: int, **query: Any) -> Reply:
        return await self.get(f"/api/v1/recommendations/users/{viewer_id}/recommendations", **query)

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples whose name and labels begin so: `amity_x_total` or `amity_x_total{stage="ranking"`."""
        reader, writer = await asyncio.open_connection(*self._address)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        said = (await reader.read()).decode()
        writer.transport.abort()
        samples = (line for line in said.splitlines() if line.startswith(name) and line[len(name)] in " {,}")
        return sum(float(line.rpartition(" ")[2]) for line in samples)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bool]:
        while self._idle:
            since_s, reader, writer = self._idle.pop()
            if time.monotonic() - since_s < IDLE_S and not reader.at_eof():
                return reader, writer, True
            writer.transport.abort()
        return *(await asyncio.open_connection(*self._address)), False


async def _reply(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split(" ", 2)[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


class Lag:
    """How long a replica takes over a request that asks for nothing, all the time: what a busy machine adds to any delay."""

    REMEMBERED_S = 30.0

    def __init__(self, wire: Wire, path: str, pause_s: float) -> None:
        self._wire = wire
        self._path = path
        self._pause_s = pause_s
        self._took: deque[tuple[float, float]] = deque()
        self._begun_s: float | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._begun_s = time.monotonic()
            await self._wire.get(self._path)
            self._took.append((self._begun_s, time.monotonic()))
            while self._took[0][1] < time.monotonic() - self.REMEMBERED_S:
                self._took.popleft()
            self._begun_s = None
            await asyncio.sleep(self._pause_s)

    def longest_s(self, since_s: float, until_s: float) -> float:
        """The longest such request that was on its way between the two moments."""
        took = [ended - begun for begun, ended in self._took if ended >= since_s and begun <= until_s]
        pending = [until_s - self._begun_s] if self._begun_s is not None and self._begun_s <= until_s else []
        return max([0.0, *took, *pending])
