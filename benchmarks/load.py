"""A closed-loop load generator: a few connections, each asking again as soon as it is answered. Light enough to share a core."""

import asyncio
import time
from collections.abc import Iterator

import msgspec
import numpy as np


class Load(msgspec.Struct, frozen=True):
    """What a run showed; times in ms."""

    requests: int
    failures: int
    per_s: float
    p50_ms: float
    p99_ms: float


async def run(port: int, paths: list[str], connections: int) -> Load:
    """Ask for every path once, over `connections` kept-alive connections."""
    todo, times_s, statuses = iter(paths), [], []

    async def worker(todo: Iterator[str]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in todo:
            started_s = time.perf_counter()
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            statuses.append(await _answer(reader))
            times_s.append(time.perf_counter() - started_s)
        writer.close()
        await writer.wait_closed()

    started_s = time.perf_counter()
    await asyncio.gather(*(worker(todo) for _ in range(connections)))
    elapsed_s = time.perf_counter() - started_s
    p50_ms, p99_ms = np.percentile(times_s, [50, 99]) * 1000
    return Load(
        requests=len(paths),
        failures=sum(status != 200 for status in statuses),
        per_s=round(len(paths) / elapsed_s, 1),
        p50_ms=round(float(p50_ms), 2),
        p99_ms=round(float(p99_ms), 2),
    )


async def _answer(reader: asyncio.StreamReader) -> int:
    """The status of one answer, its body read to the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])
