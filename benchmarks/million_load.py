"""Requests for recommendations, and what the answers say of themselves: status, stages, degradation."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np


class Answers(msgspec.Struct):
    """What a run of requests showed. `times_ms` count from when a request was sent, or in an open loop from when it was due.

    `stages_ms`: by stage of Server-Timing, one value for each request that had it, and `total` within the server.
    """

    times_ms: list[float] = []
    stages_ms: dict[str, list[float]] = {}
    failures: int = 0
    degraded: int = 0
    cached: int = 0
    seconds: float = 0.0

    def p_ms(self, percent: float, stage: str | None = None) -> float:
        times = self.times_ms if stage is None else self.stages_ms.get(stage, [])
        return round(float(np.percentile(times, percent)), 2) if times else float("nan")

    @property
    def per_s(self) -> float:
        return round(len(self.times_ms) / self.seconds, 1)


class _Body(msgspec.Struct):
    """The part of a reply that is looked at."""

    degraded: list[dict[str, str | None]]
    cached: bool


_decoder = msgspec.json.Decoder(_Body)

_KEPT_S = 4.0
"""The server closes connections that were idle for 5 s."""


def closed(port: int, paths: Sequence[str], connections: int) -> Answers:
    """Each connection asks again as soon as it is answered."""
    return asyncio.run(_closed(port, paths, connections))


def open_loop(port: int, paths: Sequence[str], per_s: float) -> Answers:
    """Each request is due at its time, however long those before it take. More connections are opened where all are busy."""
    return asyncio.run(_open(port, paths, per_s))


async def _closed(port: int, paths: Sequence[str], connections: int) -> Answers:
    found, todo = Answers(), iter(paths)

    async def worker(todo: Iterator[str]) -> None:
        connection = await _Connection.open(port)
        for path in todo:
            await connection.ask(path, time.perf_counter(), found)
        connection.close()

    begun_s = time.perf_counter()
    await asyncio.gather(*(worker(todo) for _ in range(connections)))
    found.seconds = time.perf_counter() - begun_s
    return found


async def _open(port: int, paths: Sequence[str], per_s: float) -> Answers:
    found, idle = Answers(), [await _Connection.open(port)]

    async def ask(path: str, due_s: float) -> None:
        while idle and idle[-1].is_stale:
            idle.pop().close()
        connection = idle.pop() if idle else await _Connection.open(port)
        await connection.ask(path, due_s, found)
        idle.append(connection)

    begun_s, asking = time.perf_counter(), []
    for place, path in enumerate(paths):
        due_s = begun_s + place / per_s
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        asking.append(asyncio.create_task(ask(path, due_s)))
    await asyncio.gather(*asking)
    found.seconds = time.perf_counter() - begun_s
    for connection in idle:
        connection.close()
    return found


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._used_s = time.perf_counter()

    @property
    def is_stale(self) -> bool:
        """Whether the server may be about to close it."""
        return time.perf_counter() - self._used_s > _KEPT_S

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, path: str, since_s: float, found: Answers) -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await self._reader.readexactly(int(headers["content-length"]))
        self._used_s = time.perf_counter()
        found.times_ms.append((time.perf_counter() - since_s) * 1000)
        if head.split(" ", 2)[1] != "200":
            found.failures += 1
            return
        for part in headers["server-timing"].split(", "):
            name, _, ms = part.partition(";dur=")
            found.stages_ms.setdefault(name, []).append(float(ms))
        said = _decoder.decode(body)
        found.degraded += bool(said.degraded)
        found.cached += said.cached

    def close(self) -> None:
        self._writer.close()
