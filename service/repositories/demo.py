"""Writes a whole made-up population into an empty database: all of it in one transaction, or nothing."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain import Kind, Profile
from service.errors import OperatorError
from service.repositories import tables
from service.repositories.calls import LONG_S, Sessions, driver, write
from service.repositories.facts import set_fact
from service.repositories.locks import WRITERS, lock_exclusive
from service.repositories.opinions import BLOCK, FAMILY, OPINION

FACT = "demo"
CHUNK_ROWS = 25_000
"""Rows of one COPY: between two of them progress is told."""

_USER_COLUMNS = tuple(field.name for field in msgspec.structs.fields(Profile))
_ANALYSED = ("users", "interactions", "matches")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Ids = NDArray[np.int64]
Written = Callable[[str, int, int], None]
"""Told the table, the rows done and the rows in all."""


class Population(msgspec.Struct, frozen=True, eq=False):
    """People, and what they did: `actors`, `targets` int64 ids, `kinds`, `times_s` int64 whole seconds since 1970, all parallel.

    One opinion and one block at most for each ordered pair; messages of a pair have different times. `matches`: rows of
    (low id, high id, seconds since 1970), int64 (k, 3).
    """

    people: list[Profile]
    actors: Ids
    targets: Ids
    kinds: Sequence[Kind]
    times_s: Ids
    matches: Ids


class Demo:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def is_there(self, fact: dict[str, Any]) -> bool:
        """True when this very demo is there already; raises OperatorError when anyone else is."""

        async def work(session: AsyncSession) -> bool:
            return await _is_there(session, fact)

        return await write(self._sessions, work)

    async def fill(self, population: Population, fact: dict[str, Any], written: Written) -> bool:
        """Write everything and remember it under the fact `demo`. False when this very demo is there already.

        Raises OperatorError when anyone else is. Others who write wait meanwhile.
        """

        async def work(session: AsyncSession) -> bool:
            await lock_exclusive(session, WRITERS)
            if await _is_there(session, fact):
                return False
            await _copy_all(session, population, written)
            await set_fact(session, FACT, fact)
            for table in _ANALYSED:  # queries right after would be planned for empty tables
                await session.execute(text(f"analyze {table}"))
            return True

        return await write(self._sessions, work)


async def _is_there(session: AsyncSession, fact: dict[str, Any]) -> bool:
    n_people = await session.scalar(select(func.count()).select_from(tables.users)) or 0
    held = await session.scalar(select(tables.facts.c.value).where(tables.facts.c.name == FACT))
    if n_people and not (held and all(held.get(name) == fact[name] for name in ("seed", "n_people"))):
        what = f"the demo population of seed {held['seed']} and size {held['n_people']}" if held else f"{n_people:,} people"
        raise OperatorError(f"the database holds {what}; a demo population is only put into an empty one")
    return n_people > 0


async def _copy_all(session: AsyncSession, population: Population, written: Written) -> None:
    gone = {row[0]: row[1] for row in await session.execute(text("select user_id, incarnation from tombstones"))}
    connection = await driver(session)
    people = [_person(profile, gone.get(profile.id, 0) + 1) for profile in population.people]
    sources: tuple[tuple[str, tuple[str, ...], int, Iterator[tuple[Any, ...]]], ...] = (
        ("users", _USER_COLUMNS, len(people), iter(people)),
        (
            "interactions",
            ("actor_id", "target_id", "family", "event_key", "kind", "occurred_at"),
            len(population.actors),
            _interactions(population),
        ),
        ("matches", ("low_id", "high_id", "matched_at"), len(population.matches), _matches(population.matches)),
    )
    for table, columns, n_rows, rows in sources:
        for first in range(0, n_rows, CHUNK_ROWS):
            chunk = [row for _, row in zip(range(CHUNK_ROWS), rows, strict=False)]
            await connection.copy_records_to_table(table, records=chunk, columns=columns, timeout=LONG_S)
            written(table, first + len(chunk), n_rows)


def _person(profile: Profile, incarnation: int) -> tuple[Any, ...]:
    values = msgspec.structs.asdict(profile) | {"incarnation": incarnation, "status": str(profile.status)}
    return tuple(list(value) if isinstance(value := values[name], tuple) else value for name in _USER_COLUMNS)


def _interactions(population: Population) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of their key, which is how the index grows fastest."""
    order = np.lexsort((population.times_s, population.targets, population.actors))
    for row in order.tolist():
        kind = population.kinds[row]
        family = FAMILY[kind]
        seconds = int(population.times_s[row])
        key = "" if family in (OPINION, BLOCK) else f"at:{seconds * 1_000_000}"
        at = _EPOCH + timedelta(seconds=seconds)
        yield int(population.actors[row]), int(population.targets[row]), family, key, str(kind), at


def _matches(rows: Ids) -> Iterator[tuple[Any, ...]]:
    for low_id, high_id, seconds in rows.tolist():
        yield low_id, high_id, _EPOCH + timedelta(seconds=seconds)
