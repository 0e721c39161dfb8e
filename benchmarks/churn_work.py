"""What the processes beside the replica do: ask at a steady rate, and write at another."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import msgspec
import numpy as np

from benchmarks.load import Pace, drive
from service.repositories.connections import connect

KINDS = ("like", "pass", "message", "view", "block")
ODDS = (0.45, 0.4, 0.1, 0.04, 0.01)
_FAMILIES = {"like": 1, "pass": 1, "block": 2, "message": 3, "view": 4}
_BATCHES = (100, 250, 500, 1000)
_PEOPLE_AT_ONCE = 100
_SAMPLE_S = 0.25
_RECORD = """
    insert into interactions (actor_id, target_id, family, event_key, kind, occurred_at)
    select *, now() from unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::text[])
    on conflict (actor_id, target_id, family, event_key) do nothing
"""
_CHANGE = "update users set bio = $2, age = 18 + (age + 1) % 60, updated_at = now() where id = any($1::bigint[])"


class Asked(msgspec.Struct, frozen=True):
    """`times_ms` from when each request was due, whenever it was sent; `heard`: (when, how many changes of interactions and of
    people had been applied)."""

    times_ms: list[float]
    failures: int
    heard: list[tuple[float, float, float]]


class Written(msgspec.Struct, frozen=True):
    """`commits_s`: when each statement was committed, on the clock of `Asked.heard`; `rows` of all of them, within `seconds`."""

    commits_s: list[float]
    rows: int
    seconds: float


def ready() -> None:
    """The process is there, with all that this module imports."""


def capacity(port: int, n_people: int, n_requests: int) -> float:
    """Requests a second, when four connections ask without a pause."""
    return drive(port, _paths(n_people, n_requests, 0), Pace(connections=4, requests=n_requests)).per_s


def ask(port: int, per_s: float, seconds: float, n_people: int, seed: int) -> Asked:
    """Open loop: each request is due at its time, however long those before it take."""
    return asyncio.run(_Asking(port).run(_paths(n_people, int(per_s * seconds), seed), per_s, seconds))


def interact(url: str, per_s: int, seconds: float, n_people: int, start: int) -> Written:
    """Interactions of pairs numbered from `start`, of whom none had any; in statements of 100 to 1,000."""
    rng = np.random.default_rng(start)

    async def work(connection: asyncpg.Connection, written: int) -> int:
        n = int(rng.choice(_BATCHES))
        numbers = start + written + np.arange(n)
        actors = numbers * 7919 % n_people + 1
        # Odd steps, which the history that was imported does not have: see `churn.interactions`.
        targets = (actors - 1 + 1 + 2 * (numbers // n_people)) % n_people + 1
        kinds = rng.choice(KINDS, n, p=ODDS).tolist()
        keys = [f"id:{number}" if _FAMILIES[kind] > 2 else "" for number, kind in zip(numbers.tolist(), kinds, strict=True)]
        await connection.execute(_RECORD, actors.tolist(), targets.tolist(), [_FAMILIES[kind] for kind in kinds], keys, kinds)
        return n

    return asyncio.run(_write(url, per_s, seconds, work))


def change(url: str, per_s: int, seconds: float, n_people: int, seed: int) -> Written:
    """Other bios and ages, in statements of a hundred people."""
    rng = np.random.default_rng(seed)

    async def work(connection: asyncpg.Connection, written: int) -> int:
        ids = np.sort(rng.choice(n_people, _PEOPLE_AT_ONCE, replace=False) + 1)
        await connection.execute(_CHANGE, ids.tolist(), f"Changed {seed}, {written}")
        return _PEOPLE_AT_ONCE

    return asyncio.run(_write(url, per_s, seconds, work))


def applied(metrics: str) -> tuple[float, float]:
    """How many changes of interactions and of people a replica's metrics say that it has taken in."""
    found = {"interaction": 0.0, "user": 0.0}
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("amity_feed_changes_total{"):
            found[name.split('"')[1]] = float(value)
    return found["interaction"], found["user"]


Work = Callable[[asyncpg.Connection, int], Coroutine[Any, Any, int]]


async def _write(url: str, per_s: int, seconds: float, work: Work) -> Written:
    """Statements one after another, each begun when the rows before it are due."""
    connection = await connect(url)
    begun_s = now_s = time.monotonic()
    written, commits_s = 0, []
    while max(now_s - begun_s, written / per_s) < seconds:
        await asyncio.sleep(max(0.0, begun_s + written / per_s - now_s))
        written += await work(connection, written)
        now_s = time.monotonic()
        commits_s.append(now_s)
    await connection.close()
    return Written(commits_s, written, max(seconds, now_s - begun_s))


def _paths(n_people: int, n: int, seed: int) -> list[str]:
    viewers = np.random.default_rng((seed, 1)).integers(1, n_people + 1, n).tolist()
    return [f"/api/v1/recommendations/users/{viewer}/recommendations?use_cache=false" for viewer in viewers]


class _Asking:
    """Connections are kept, and more opened where all are busy."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._times_ms: list[float] = []
        self._failures = 0
        self._heard: list[tuple[float, float, float]] = []

    async def run(self, paths: list[str], per_s: float, seconds: float) -> Asked:
        listening = asyncio.create_task(self._listen(seconds))
        begun_s = time.monotonic()
        asking = []
        for place, path in enumerate(paths):
            due_s = begun_s + place / per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            asking.append(asyncio.create_task(self._ask(path, due_s)))
        await asyncio.gather(listening, *asking)
        for _, writer in self._idle:
            writer.close()
        return Asked(self._times_ms, self._failures, self._heard)

    async def _ask(self, path: str, due_s: float) -> None:
        status, _ = await self._fetch(path)
        self._times_ms.append((time.monotonic() - due_s) * 1000)
        self._failures += status != 200

    async def _listen(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            _, body = await self._fetch("/metrics")
            self._heard.append((time.monotonic(), *applied(body)))
            await asyncio.sleep(_SAMPLE_S)

    async def _fetch(self, path: str) -> tuple[int, str]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), body.decode()
