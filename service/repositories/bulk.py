"""Many rows at once: COPY into a temporary table, then a constant number of statements that decide and write.

The rules are those of `users.Users.put` and of `opinions.Ledger`, as joins. Measured on one core, 400,000 people and as many
interactions between random pairs: about 10 µs a new person, 13 µs an interaction.
"""

import io
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from service.repositories.bulk_sql import (
    COUNT_STANDING_PEOPLE,
    END_MATCHES,
    INSERT_PEOPLE,
    INTERACTION_COLUMNS,
    MAKE_MATCHES,
    MOVE_WAVE,
    PERSON_COLUMNS,
    PLANS,
    STAGE_INTERACTIONS,
    STAGE_PEOPLE,
    TAKE_UNKNOWN,
    UPDATE_PEOPLE,
    WRITE_WAVE,
)
from service.repositories.calls import LONG_S, Sessions, driver, raw_driver, read, write
from service.repositories.locks import WRITERS, lock_exclusive, lock_shared
from service.repositories.storable import as_json

FEW_WAVES = 4
"""Up to here each wave finds its rows by reading all that are staged, 3 ms for 40,000."""


class Unknown(msgspec.Struct, frozen=True):
    """An interaction that was not stored, by its `n`, and which of its people do not exist."""

    n: int
    actor_id: int | None
    target_id: int | None


class Outcome(msgspec.Struct, frozen=True):
    """What became of a batch, in rows. New and replaced are people, recorded interactions; repeated changed nothing."""

    new: int = 0
    replaced: int = 0
    recorded: int = 0
    repeated: int = 0
    matches: int = 0
    unknown: tuple[Unknown, ...] = ()


class Mark(msgspec.Struct, frozen=True):
    """How far an import has come, stored in the same transaction as the rows."""

    fingerprint: str
    done_records: int
    state: dict[str, Any]


class Steps(msgspec.Struct, frozen=True):
    """What the caller does meanwhile; both may be called again when the transaction is tried a second time.

    `staged` is called when the rows are with PostgreSQL: from here on it has work and Python none. `settle` is called with
    the outcome inside the transaction, before its commit.
    """

    staged: Callable[[], None]
    settle: Callable[[Outcome], Mark]


async def put_people(sessions: Sessions, rows: bytes, steps: Steps) -> Outcome:
    """Store people given as CSV of PERSON_COLUMNS, each id once, all or none.

    A person who is already as given is not written. Where `created_at`, `last_active_at` or `status` is null it stays as it
    is, and is now, unknown or active for somebody new. Raises DatabaseUnavailable; the rows must have been checked.
    """

    async def work(session: AsyncSession) -> Outcome:
        await _stage(await raw_driver(session), STAGE_PEOPLE, "staged_people", PERSON_COLUMNS, rows)
        steps.staged()
        await lock_shared(session, WRITERS)
        connection = await driver(session)
        await connection.execute(PLANS)
        n_given, n_standing = await connection.fetchrow(COUNT_STANDING_PEOPLE, timeout=LONG_S)
        replaced = _n_rows(await connection.execute(UPDATE_PEOPLE, timeout=LONG_S)) if n_standing else 0
        new = _n_rows(await connection.execute(INSERT_PEOPLE, timeout=LONG_S)) if n_standing < n_given else 0
        outcome = Outcome(new=new, replaced=replaced, repeated=n_given - new - replaced)
        await connection.execute("drop table pg_temp.staged_people")
        await _mark(connection, steps.settle(outcome))
        return outcome

    return await write(sessions, work)


async def record_interactions(sessions: Sessions, rows: bytes, n_waves: int, steps: Steps) -> Outcome:
    """Record interactions given as CSV of INTERACTION_COLUMNS, wave after wave; those of unknown people are left out.

    Other writers of interactions wait meanwhile (about 0.4 s for 40,000 rows), but not during the COPY.
    """

    async def work(session: AsyncSession) -> Outcome:
        staging = await raw_driver(session)
        await _stage(staging, STAGE_INTERACTIONS, "staged", INTERACTION_COLUMNS, rows)
        steps.staged()
        if n_waves > FEW_WAVES:
            await staging.execute("create index on staged (wave)", timeout=LONG_S)
        await lock_exclusive(session, WRITERS)
        connection = await driver(session)
        await connection.execute(PLANS)
        unknown = tuple(Unknown(*row) for row in await connection.fetch(TAKE_UNKNOWN, timeout=LONG_S))
        waves = await connection.fetch("select wave, count(*) from staged group by wave order by wave", timeout=LONG_S)
        recorded = repeated = matches = 0
        for wave, n_given in waves:
            n_written, n_matches = await _write_wave(connection, wave, n_given)
            recorded, repeated, matches = recorded + n_written, repeated + n_given - n_written, matches + n_matches
        outcome = Outcome(recorded=recorded, repeated=repeated, matches=matches, unknown=unknown)
        await connection.execute("drop table pg_temp.staged")
        await _mark(connection, steps.settle(outcome))
        return outcome

    return await write(sessions, work)


async def _write_wave(connection: Any, wave: int, n_given: int) -> tuple[int, int]:
    """Write one wave; how many of its rows changed something, and how many matches they made.

    Where all did, as in a first import, none repeats what stands: the look for repeats costs 3 of 17 µs an interaction.
    """
    n_written = _n_rows(await connection.execute(WRITE_WAVE, wave, timeout=LONG_S))
    await connection.execute(END_MATCHES, wave, timeout=LONG_S)
    n_matches = _n_rows(await connection.execute(MAKE_MATCHES, wave, timeout=LONG_S))
    if n_written < n_given:
        await connection.execute(MOVE_WAVE, wave, timeout=LONG_S)
    return n_written, n_matches


async def save_mark(sessions: Sessions, mark: Mark) -> None:
    """Store how far an import has come where no rows come with it."""

    async def work(session: AsyncSession) -> None:
        await _mark(await driver(session), mark)

    await write(sessions, work)


async def find_mark(sessions: Sessions, fingerprint: str) -> Mark | None:
    """How far the import of this file had come, if it was ever begun here."""

    async def work(session: AsyncSession) -> Mark | None:
        connection = await driver(session)
        query = "select done_records, state::text from imports where fingerprint = $1"
        row = await connection.fetchrow(query, fingerprint)
        return Mark(fingerprint, row[0], msgspec.json.decode(row[1])) if row else None

    return await read(sessions, work)


async def settle_people(sessions: Sessions) -> None:
    """Fresh statistics of the people, and the map by which their existence is read from the index alone.

    Without the map the check of 40,000 interactions among a million people took 0.45 s instead of 0.08: two reads of the
    table each, which no cache of 128 MB holds.
    """
    await _maintain(sessions, "vacuum (analyze) users")


async def settle_interactions(sessions: Sessions) -> None:
    """Fresh statistics of interactions and matches for the planner."""
    await _maintain(sessions, "analyze interactions, matches")


async def _maintain(sessions: Sessions, statement: str) -> None:
    """In autocommit, as VACUUM needs it."""

    async def work(session: AsyncSession) -> None:
        await (await driver(session)).execute(statement, timeout=LONG_S)

    await read(sessions, work)


async def _stage(connection: Any, create: str, table: str, columns: tuple[str, ...], rows: bytes) -> None:
    """Put the rows into a temporary table of the connection, in a transaction of its own that ends before any lock is asked for.

    Making the table gives the transaction its xid, and replicas read changes in the order of xids: one from before the wait for
    the lock would put the batch ahead of whoever held the lock, an erasure of the very people it brings among them. The table
    that a failed batch left on the connection goes first.
    """
    async with connection.transaction():
        await connection.execute(f"set local synchronous_commit = off; drop table if exists pg_temp.{table}; {create}")
        source = io.BytesIO(rows)
        await connection.copy_to_table(table, source=source, columns=columns, format="csv", timeout=LONG_S)


async def _mark(connection: Any, mark: Mark) -> None:
    await connection.execute(
        """
        insert into imports (fingerprint, done_records, state) values ($1, $2, $3::text::jsonb)
        on conflict (fingerprint) do update
            set done_records = excluded.done_records, state = excluded.state, updated_at = now()
        """,
        mark.fingerprint,
        mark.done_records,
        as_json(mark.state),
    )


def _n_rows(status: str) -> int:
    """The count in a command tag, such as `INSERT 0 17`."""
    return int(status.rsplit(" ", 1)[1])
