"""What the tests of import and export share: files from rows, and what the database holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.repositories.database import connect
from service.transfer.layouts import INTERACTIONS, PEOPLE
from service.transfer.writers import open_writer

TABLES = {
    "users": "select id, name, age, gender, location, latitude, longitude, bio, interests, created_at, last_active_at, "
    "seeks_genders, seeks_min_age, seeks_max_age, seeks_max_km, status from users order by id",
    "interactions": "select actor_id, target_id, family, event_key, kind, occurred_at from interactions order by 1, 2, 3, 4",
    "matches": "select low_id, high_id, matched_at from matches order by 1, 2",
}


async def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    connection = await connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that a round trip must keep."""
    connection = await connect(url)
    try:
        return {table: [tuple(row) for row in await connection.fetch(query)] for table, query in TABLES.items()}
    finally:
        await connection.close()


def write_people(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with open_writer(path, PEOPLE) as write:
        write([[row.get(name) for name in PEOPLE.names] for row in rows])
    return path


def write_interactions(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """Rows of actor, target, kind, time and, where there is one, event id."""
    with open_writer(path, INTERACTIONS) as write:
        write([[*row, None][:5] for row in rows])
    return path
