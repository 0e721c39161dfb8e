"""What people did to one another: recorded all or none, and read as what stands."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from msgspec.structs import replace
from sqlalchemy import func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from service.bounds import EVENT_ID_LENGTH
from service.domain import Interaction, Kind
from service.errors import BadInput, Problem
from service.repositories import tables
from service.repositories.calls import Sessions, read, write
from service.repositories.columns import InteractionTable, copy_interactions
from service.repositories.locks import lock_pairs
from service.repositories.opinions import BLOCK, FAMILY, OPINION, Ledger, Pair, Place, Standing, pair
from service.repositories.storable import is_storable

# `clock_timestamp()`, since `now()` is the time before the wait for the locks.
_EXISTING = text("select array(select id from users where id = any(cast(:ids as bigint[]))), clock_timestamp()")
_STANDING = text(
    """
    select actor_id, target_id, family, kind, occurred_at from interactions
    join unnest(cast(:actors as bigint[]), cast(:targets as bigint[])) as wanted (actor, target)
        on actor_id = actor and target_id = target
    where family in (1, 2)
    """
)
_MATCHES = text(
    """
    select low_id, high_id, matched_at from matches
    join unnest(cast(:lows as bigint[]), cast(:highs as bigint[])) as wanted (low, high) on low_id = low and high_id = high
    """
)
# An event that is there already stays as it is; an opinion or a block is replaced, for the ledger decided that it should be.
# One that is only said again, later, keeps the slate that it came of.
_WRITE = text(
    """
    insert into interactions (actor_id, target_id, family, event_key, kind, occurred_at, slate_id)
    select * from unnest(cast(:actors as bigint[]), cast(:targets as bigint[]), cast(:families as smallint[]),
        cast(:keys as text[]), cast(:kinds as text[]), cast(:times as timestamptz[]), cast(:slates as uuid[]))
    on conflict (actor_id, target_id, family, event_key) do update set kind = excluded.kind,
        occurred_at = excluded.occurred_at, recorded_at = now(),
        slate_id = case when interactions.kind = excluded.kind then interactions.slate_id else excluded.slate_id end
        where interactions.family in (1, 2)
    returning family
    """
)
_END = text(
    """
    delete from matches using unnest(cast(:lows as bigint[]), cast(:highs as bigint[])) as ended (low, high)
    where low_id = low and high_id = high
    """
)
_MAKE = text(
    """
    insert into matches (low_id, high_id, matched_at)
    select * from unnest(cast(:lows as bigint[]), cast(:highs as bigint[]), cast(:times as timestamptz[]))
    on conflict (low_id, high_id) do update set matched_at = excluded.matched_at
    """
)

Key = tuple[int, int, int, str]
"""Actor, target, family and event key: the primary key of a row."""


class Recorded(msgspec.Struct, frozen=True):
    """Outcome of one call: `recorded` and `repeated` add up to what was given; `matches` are those it made, lower id first.

    `returned`: pairs, lower id first, of whom one may see the other again, since what hid them stands no more.
    """

    recorded: int
    repeated: int
    matches: list[Pair]
    returned: list[Pair] = msgspec.field(default_factory=list)


class Interactions:
    """All calls raise DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def record(self, interactions: Sequence[Interaction]) -> Recorded:
        """Record all or none, in the order in which they occurred (ties: as given), in a constant number of statements.

        What is still to come by the database's clock is done now: see Ledger.dated.
        Raises BadInput naming `interactions[i].actor_id` and so on for unknown people and text that cannot be stored.
        """
        _check(interactions)

        async def work(session: AsyncSession) -> Recorded:
            return await _record(session, interactions)

        return await write(self._sessions, work)

    async def stream(self, batch_size: int = 10_000) -> AsyncIterator[list[Interaction]]:
        """All rows in the order of their key, withdrawals too. Each batch is a query of its own."""
        columns = tables.interactions.c
        key = tuple_(columns.actor_id, columns.target_id, columns.family, columns.event_key)
        everything = select(*key.clauses, columns.kind, columns.occurred_at, columns.slate_id).order_by(*key.clauses)
        after: Key = (0, 0, 0, "")
        while True:
            page = everything.where(key > after).limit(batch_size)

            async def work(session: AsyncSession, page: Any = page) -> Sequence[Any]:
                return (await session.execute(page)).all()

            rows = await read(self._sessions, work)
            if rows:
                yield [_interaction(row) for row in rows]
                after = tuple(rows[-1][:4])
            if len(rows) < batch_size:
                return

    async def count(self) -> int:
        async def work(session: AsyncSession) -> int:
            return int(await session.scalar(select(func.count()).select_from(tables.interactions)) or 0)

        return await read(self._sessions, work)

    async def load_all(self) -> InteractionTable:
        """All rows as columns, without a Python object for each; see InteractionTable."""
        return await write(self._sessions, copy_interactions)


async def _record(session: AsyncSession, interactions: Sequence[Interaction]) -> Recorded:
    pairs = sorted({pair(given.actor_id, given.target_id) for given in interactions})
    await lock_pairs(session, pairs)
    now = await _require_people(session, interactions)
    ledger = await _ledger(session, pairs)
    events: dict[Key, Interaction] = {}
    n_changes = 0
    for given in sorted(interactions, key=lambda given: given.occurred_at):
        if FAMILY[given.kind] in (OPINION, BLOCK):
            n_changes += ledger.apply(ledger.dated(given, now))
        else:
            event = given if given.occurred_at <= now else replace(given, occurred_at=now)
            events.setdefault(_event_key(given), event)
    n_new_events = await _write_rows(session, ledger.written, events)
    made = ledger.made()
    await _write_matches(session, made, ledger.ended())
    n_recorded = n_changes + n_new_events
    return Recorded(n_recorded, len(interactions) - n_recorded, sorted(made), sorted(ledger.returned))


async def _require_people(session: AsyncSession, interactions: Sequence[Interaction]) -> datetime:
    """The time by the database's clock, at which they all existed."""
    ids = {given.actor_id for given in interactions} | {given.target_id for given in interactions}
    known, now = (await session.execute(_EXISTING, {"ids": sorted(ids)})).one()
    known = set(known)
    unknown = [
        Problem(f"interactions[{index}].{field}", f"no user with id {getattr(given, field)}")
        for index, given in enumerate(interactions)
        for field in ("actor_id", "target_id")
        if getattr(given, field) not in known
    ]
    if unknown:
        raise BadInput(*unknown)
    return now  # type: ignore[no-any-return]


async def _ledger(session: AsyncSession, pairs: Sequence[Pair]) -> Ledger:
    lows, highs = [low for low, _ in pairs], [high for _, high in pairs]
    rows = await session.execute(_STANDING, {"actors": lows + highs, "targets": highs + lows})
    standing: dict[Place, Standing] = {
        (actor_id, target_id, family): Standing(Kind(kind), at) for actor_id, target_id, family, kind, at in rows
    }
    found = await session.execute(_MATCHES, {"lows": lows, "highs": highs})
    matches: dict[Pair, datetime] = {(low, high): at for low, high, at in found}
    return Ledger(standing, matches)


async def _write_rows(session: AsyncSession, opinions: dict[Place, Interaction], events: dict[Key, Interaction]) -> int:
    """Write what the ledger decided and the events; how many events were new."""
    rows: dict[Key, Interaction] = {(*place, ""): given for place, given in opinions.items()} | events
    if not rows:
        return 0
    keys = sorted(rows)  # the order of the index
    columns = {
        "actors": [key[0] for key in keys],
        "targets": [key[1] for key in keys],
        "families": [key[2] for key in keys],
        "keys": [key[3] for key in keys],
        "kinds": [str(rows[key].kind) for key in keys],
        "times": [rows[key].occurred_at for key in keys],
        "slates": [rows[key].slate_id for key in keys],
    }
    written = list(await session.scalars(_WRITE, columns))
    return sum(family not in (OPINION, BLOCK) for family in written)


async def _write_matches(session: AsyncSession, made: dict[Pair, datetime], ended: Sequence[Pair]) -> None:
    if ended:
        await session.execute(_END, {"lows": [low for low, _ in ended], "highs": [high for _, high in ended]})
    if made:
        people = list(made)
        columns = {"lows": [low for low, _ in people], "highs": [high for _, high in people], "times": list(made.values())}
        await session.execute(_MAKE, columns)


def _check(interactions: Sequence[Interaction]) -> None:
    problems = []
    for index, given in enumerate(interactions):
        if given.actor_id == given.target_id:
            problems.append(Problem(f"interactions[{index}].target_id", "must be somebody else than the actor"))
        if given.event_id is not None and not (is_storable(given.event_id) and len(given.event_id) <= EVENT_ID_LENGTH):
            message = f"must be at most {EVENT_ID_LENGTH} letters of Unicode without NUL"
            problems.append(Problem(f"interactions[{index}].event_id", message))
    if problems:
        raise BadInput(*problems)


def _event_key(given: Interaction) -> Key:
    """The key of a message or view. Without an event_id it is an event of its own, whatever else is there."""
    event_id = given.event_id if given.event_id is not None else str(uuid4())
    return (given.actor_id, given.target_id, FAMILY[given.kind], f"id:{event_id}")


def _interaction(row: Any) -> Interaction:
    """From the key, kind, occurred_at and slate_id. Keys made up by an import from the time (`at:`) are no event_id."""
    event_id = row[3].removeprefix("id:") if row[3].startswith("id:") else None
    return Interaction(
        actor_id=row[0], target_id=row[1], kind=Kind(row[4]), occurred_at=row[5], event_id=event_id, slate_id=row[6]
    )
