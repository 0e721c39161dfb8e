"""What came of an experiment: who was given what, and which likes and matches belong to that. The only SQL of reports.

Set by set: each like finds its slate by a hash join. Of 1.5 million slates, an experiment of a million, to 50,000 viewers who
gave 480,000 likes, takes 13 s of one core; one of 18,000 slates 1.3 s, by the index on experiments.
"""

from typing import Any

import msgspec

from service.domain_experiments import Window
from service.repositories.calls import Sessions, driver
from service.repositories.copied import Ints, columns
from service.repositories.failures import translated

BEFORE_DAYS = 28
"""How far before the start behaviour is taken for adjustment."""
LATEST_DAYS = 7
"""How long after a slate a like that names no slate may still belong to it."""
SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""All statements of a session see one state, and change none."""

# What the planner cannot know is that joins on `= any(array)` keep half a million rows. It would merge slates in the order of the
# index on viewers, reading the table by single pages: 12 s instead of 2. No temporary tables: making one gives the transaction an
# xid, and the feed of changes would stand still in every replica until it ends.
_PLANNER = "set local work_mem = '64MB'; set local enable_mergejoin = off; set local jit = off"

_SLATES = "experiment = $1 and arm = any($2::text[]) and served_at >= $3 and served_at < $4 and (teams is not null or not $5)"
_DAY = "floor(extract(epoch from {} - $3::timestamptz) / 86400)::bigint"
_ARM = "(array_position($2::text[], arm) - 1)::bigint"

# `+ 0`: grouped by the bare column, rows would come in the order of its index, too.
_EXPOSED = f"exposed as materialized (select distinct viewer_id + 0 as viewer_id from impressions where {_SLATES})"

_GIVEN = f"""
select viewer_id + 0, {_ARM}, {_DAY.format("served_at")}, count(*), sum(cardinality(candidate_ids))::bigint,
    coalesce(sum(cardinality(array_positions(teams, 0::smallint))), 0)::bigint,
    coalesce(sum(cardinality(array_positions(teams, 1::smallint))), 0)::bigint
from impressions where {_SLATES} group by 1, 2, 3
"""
# A like belongs to the slate that it names, or else to the latest of the week before that showed the person; it counts when that
# slate is of this experiment. A client's clock may be behind ours, so a like that names its slate may seem to come before it.
_LIKED = f"""
with {_EXPOSED}, likes as materialized (
    select actor_id, target_id, occurred_at, slate_id from exposed join interactions on actor_id = viewer_id
    where family = 1 and kind = 'like' and occurred_at >= $3 and occurred_at < $4
), named as (
    select actor_id, target_id, occurred_at, served_at, arm, teams[array_position(candidate_ids, target_id)] as team
    from likes join impressions slate on slate.slate_id = likes.slate_id and viewer_id = actor_id
        and target_id = any(candidate_ids)
    where {_SLATES}
), latest as (
    select distinct on (actor_id, target_id) actor_id, target_id, occurred_at, served_at, experiment, arm, teams,
        teams[array_position(candidate_ids, target_id)] as team
    from likes join impressions slate on viewer_id = actor_id and target_id = any(candidate_ids)
        and served_at <= occurred_at and served_at > occurred_at - interval '{LATEST_DAYS} days'
    where likes.slate_id is null and served_at >= $3 and served_at < $4
    order by actor_id, target_id, served_at desc, slate.slate_id
), credited as (
    select actor_id, target_id, occurred_at, served_at, arm, team from named
    union all
    select actor_id, target_id, occurred_at, served_at, arm, team from latest where {_SLATES}
)
select actor_id, target_id, {_ARM}, {_DAY.format("occurred_at")}, coalesce({_DAY.format("matched_at")}, -1),
    coalesce(team, -1)::bigint
from credited left join matches on low_id = least(actor_id, target_id) and high_id = greatest(actor_id, target_id)
    and matched_at >= least(served_at, occurred_at) and matched_at < $4
"""
_SHOWN_BEFORE = f"""
with {_EXPOSED}
select viewer_id, sum(cardinality(candidate_ids))::bigint from exposed join impressions using (viewer_id)
where served_at >= $3::timestamptz - interval '{BEFORE_DAYS} days' and served_at < $3 group by viewer_id
"""
_OPINIONS_BEFORE = f"""
with {_EXPOSED}
select actor_id, count(*) filter (where kind = 'like'), count(*) from exposed join interactions on actor_id = viewer_id
where family = 1 and kind in ('like', 'pass')
    and occurred_at >= $3::timestamptz - interval '{BEFORE_DAYS} days' and occurred_at < $3
group by actor_id
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
    target: Ints
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
                await session.connection(execution_options=SNAPSHOT)
                return await _observed(await driver(session), asked)


async def _observed(connection: Any, asked: Asked) -> Observed:
    slates = (asked.experiment, list(asked.arms), asked.window.since, asked.window.until, asked.with_teams)
    await connection.execute(_PLANNER)
    given = await columns(connection, _GIVEN, slates, Given.__struct_fields__)
    liked = await columns(connection, _LIKED, slates, Liked.__struct_fields__)
    shown = await columns(connection, _SHOWN_BEFORE, slates, ("shown_viewer", "shown"))
    opinions = await columns(connection, _OPINIONS_BEFORE, slates, ("viewer", "likes", "opinions"))
    return Observed(given=Given(**given), liked=Liked(**liked), before=Before(**shown, **opinions))
