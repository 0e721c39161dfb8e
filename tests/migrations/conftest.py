"""Migrations of versions that are not there yet."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import TypeVar

import asyncpg
import pytest
from sqlalchemy import Connection

from service.repositories import revisions
from service.repositories.database import Database
from tests.embedded import ROOT
from tests.next_version import write_revisions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Versions:
    """This version and the next, whose migrations are in `folder`: `column` and `values` expand, `contract` contracts."""

    folder: Path
    before: str
    column: str
    values: str
    contract: str
    become: Callable[[bool], None]

    def next(self) -> None:
        """From now on this process is the next version."""
        self.become(True)

    def this(self) -> None:
        self.become(False)


async def in_connection(url: str, work: Callable[[Connection], T]) -> T:
    """What the work says. Not in a transaction of ours: revisions begin and end their own."""
    database = Database(url)
    async with database.engine.connect() as connection:
        result = await connection.run_sync(work)
        await connection.commit()
    await database.close()
    return result


async def until(connection: asyncpg.Connection, query: str) -> None:
    """Until the query gives something else than 0."""
    for _ in range(2000):
        if await connection.fetchval(query):
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"never came true: {query}")


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Versions:
    folder = tmp_path / "migrations"
    copytree(ROOT / "migrations", folder)

    def become(is_next: bool) -> None:
        monkeypatch.setattr(revisions, "folder", lambda: folder if is_next else ROOT / "migrations")
        revisions.signature.cache_clear()

    names = write_revisions(folder / "versions")
    return Versions(folder, *names, become)
