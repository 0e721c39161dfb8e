"""What came of an experiment: who was given what, and which likes and matches belong to that. The only SQL of reports.

Set by set: slates are grouped once, opinions of those who saw them are fetched once, and each like finds its slate by a hash
join. A million slates of 20 people to 50,000 viewers, with 480,000 likes, take about 10 s of one PostgreSQL core.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain_experiments import Window
from service.repositories.calls import LONG_S, Sessions, driver
from service.repositories.copied import Ints, columns
from service.repositories.failures import translated

BEFORE_DAYS = 28
"""How far before the start behaviour is taken for adjustment."""
LATEST_DAYS = 7
"""How long after a slate a like that names no slate may still belong to it."""

# What the planner cannot know: that joins on `= any(array)` keep half a million rows. It would merge slates in the order of the
# index on viewers, reading the table by single pages (12 s instead of 2). Temporary tables, as it takes any CTE for 200 rows.
_PLANNER = "set local work_mem = '64MB'; set local enable_mergejoin = off; set local jit = off"

_DAY = "floor(extract(epoch from {} - $3::timestamptz) / 86400)::bigint"

# `+ 0`: grouped by the bare column, rows would come in the order of its index, see _PLANNER.
_GIVEN = f"""
select viewer_id + 0 as viewer_id, array_position($2::text[], arm) - 1 as arm, {_DAY.format("served_at")} as day,
    count(*) as slates, sum(cardinality(candidate_ids)) as shown,
    sum(cardinality(array_positions(teams, 0::smallint))) as first,
    sum(cardinality(array_positions(teams, 1::smallint))) as second
from impressions
where experiment = $1 and arm = any($2::text[]) and served_at >= $3 and served_at < $4 and (teams is not null or not $5)
group by 1, 2, 3
"""
_OPINIONS = f"""
select actor_id, target_id, kind = 'like' as likes, occurred_at, slate_id
from interactions
where actor_id in (select viewer_id from given) and family = 1 and kind in ('like', 'pass')
    and occurred_at >= $1::timestamptz - interval '{BEFORE_DAYS} days' and occurred_at < $2
"""
_ALL_GIVEN = """
select viewer_id, arm::bigint, day, slates, shown::bigint, coalesce(first, 0)::bigint, coalesce(second, 0)::bigint from given
"""

# A like belongs to the slate that it names, or else to the latest of the week before that showed the person; it counts when that
# slate is of this experiment. A client's clock may be behind ours, so a like that names its slate may seem to come before it.
_CREDITED = f"""
with named as (
    select actor_id, target_id, occurred_at, served_at, arm, teams, candidate_ids
    from opinions join impressions slate on slate.slate_id = opinions.slate_id and viewer_id = actor_id
        and target_id = any(candidate_ids)
    where likes and occurred_at >= $3
        and experiment = $1 and arm = any($2::text[]) and served_at >= $3 and served_at < $4 and (teams is not null or not $5)
), latest as (
    select distinct on (actor_id, target_id)
        actor_id, target_id, occurred_at, served_at, experiment, arm, teams, candidate_ids
    from opinions join impressions slate on viewer_id = actor_id and target_id = any(candidate_ids)
        and served_at <= occurred_at and served_at > occurred_at - interval '{LATEST_DAYS} days'
    where likes and occurred_at >= $3 and opinions.slate_id is null and served_at >= $3 and served_at < $4
    order by actor_id, target_id, served_at desc, slate.slate_id
), credited as (
    select actor_id, target_id, occurred_at, served_at, arm, teams, candidate_ids from named
    union all
    select actor_id, target_id, occurred_at, served_at, arm, teams, candidate_ids from latest
    where experiment = $1 and arm = any($2::text[]) and (teams is not null or not $5)
)
select actor_id, (array_position($2::text[], arm) - 1)::bigint, {_DAY.format("occurred_at")},
    coalesce({_DAY.format("matched_at")}, -1),
    coalesce(teams[array_position(candidate_ids, target_id)], -1)::bigint
from credited left join matches on low_id = least(actor_id, target_id) and high_id = greatest(actor_id, target_id)
    and matched_at >= least(served_at, occurred_at) and matched_at < $4
"""
_SHOWN_BEFORE = f"""
select viewer_id, sum(cardinality(candidate_ids))::bigint
from impressions
where served_at >= $1::timestamptz - interval '{BEFORE_DAYS} days' and served_at < $1
    and viewer_id in (select viewer_id from given)
group by viewer_id
"""
_LIKED_BEFORE = """
select actor_id, count(*) filter (where likes), count(*) from opinions where occurred_at < $1 group by actor_id
"""


class Asked(msgspec.Struct, frozen=True):
    """Which slates: of this experiment, of these arms (the place in `arms` is an arm's number), served in this window. The window
    begins with the experiment. `with_teams`: only interleaved slates whose positions can be credited."""

    experiment: str
    arms: tuple[str, ...]
    window: Window
    with_teams: bool = False


class Given(msgspec.Struct, frozen=True, eq=False):
    """One row for each viewer, arm and day with a slate, in any order; all int64 (n,). `day`: whole days since the start.

    `slates`: empty ones too. `shown`: positions; `first` and `second`: those that the first and second team brought.
    """

    viewer: Ints
    arm: Ints
    day: Ints
    slates: Ints
    shown: Ints
    first: Ints
    second: Ints


class Liked(msgspec.Struct, frozen=True, eq=False):
    """One row for each like that belongs to a slate of the experiment; all int64 (n,). `day` of the like, `match_day` of the
    match that it led to, -1 where there is none (yet); `team` that brought the person: 0, 1, or -1 for nobody's."""

    viewer: Ints
    arm: Ints
    day: Ints
    match_day: Ints
    team: Ints


class Before(msgspec.Struct, frozen=True, eq=False):
    """What the viewers did in the BEFORE_DAYS before the start: one row for each who was shown anybody, and one for each who had
    an opinion on anybody; all int64."""

    shown_viewer: Ints
    shown: Ints
    viewer: Ints
    likes: Ints
    opinions: Ints


class Observed(msgspec.Struct, frozen=True, eq=False):
    given: Given
    liked: Liked
    before: Before


class ExperimentOutcomes:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def observed(self, asked: Asked) -> Observed:
        """All that statistics need, under one snapshot. Opinions are those that stand: what was taken back counts no more."""
        with translated():
            async with self._sessions() as session:
                await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                observed = await _observed(await driver(session), asked)
                await session.commit()  # drops what was temporary
                return observed


async def _observed(connection: Any, asked: Asked) -> Observed:
    since, until = asked.window.since, asked.window.until
    slates = (asked.experiment, list(asked.arms), since, until, asked.with_teams)
    await connection.execute(_PLANNER)
    await _make(connection, "given", _GIVEN, slates)
    await _make(connection, "opinions", _OPINIONS, (since, until))
    shown_before = await columns(connection, _SHOWN_BEFORE, (since,), ("viewer", "shown"))
    return Observed(
        given=Given(**await columns(connection, _ALL_GIVEN, (), Given.__struct_fields__)),
        liked=Liked(**await columns(connection, _CREDITED, slates, Liked.__struct_fields__)),
        before=Before(
            shown_viewer=shown_before["viewer"],
            shown=shown_before["shown"],
            **await columns(connection, _LIKED_BEFORE, (since,), ("viewer", "likes", "opinions")),
        ),
    )


async def _make(connection: Any, table: str, statement: str, arguments: Sequence[Any]) -> None:
    """Make a temporary table, of which the planner then knows the size."""
    await connection.execute(f"create temporary table {table} on commit drop as {statement}", *arguments, timeout=LONG_S)
    await connection.execute(f"analyze {table}", timeout=LONG_S)
