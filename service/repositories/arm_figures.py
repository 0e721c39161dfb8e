"""How an experiment's arms serve: degraded, empty and slow slates, and newcomers shown, with what their variance needs."""

from typing import Any

import msgspec

from service.repositories.calls import LONG_S, Sessions, driver
from service.repositories.failures import translated
from service.repositories.outcomes import SNAPSHOT, Asked

NEWCOMER_DAYS = 7
"""For how long after joining somebody is a newcomer."""
MOST_POSITIONS = 2_000_000
"""Positions that are looked at for newcomers, about 2 s; of more, slates are drawn by a hash."""

_SLATES = "experiment = $1 and arm = any($2::text[]) and served_at >= $3 and served_at < $4"
_PLANNER = "set local work_mem = '64MB'; set local jit = off"


def _moments(y: str, n: str) -> str:
    """The columns that `_sums` reads, of a table by viewer."""
    wanted = {"y": y, "n": n, "yy": f"{y} * {y}", "yn": f"{y} * {n}", "nn": f"{n} * {n}"}
    return ", ".join(f"sum({expression})::float8 as {y}_{name}" for name, expression in wanted.items())


_SERVED = f"""
select arm, count(*) as viewers, sum(shown)::bigint as shown,
    {_moments("slow", "timed")},
    {_moments("degraded", "n")},
    {_moments("empty", "n")}
from (
    select arm, viewer_id + 0 as viewer, count(*) as n, sum(cardinality(candidate_ids)) as shown,
        count(generation_ms) as timed, count(*) filter (where generation_ms > $5) as slow,
        count(*) filter (where degraded) as degraded, count(*) filter (where cardinality(candidate_ids) = 0) as empty
    from impressions where {_SLATES} group by 1, 2
) by_viewer
group by arm
"""
_TIMES = f"""
select arm, percentile_disc(array[0.5, 0.95]) within group (order by generation_ms) as quantiles
from impressions where {_SLATES} and generation_ms is not null group by arm
"""
_NEWCOMERS = f"""
with newcomers as materialized (
    select id, created_at from users
    where created_at > $3::timestamptz - interval '{NEWCOMER_DAYS} days' and created_at < $4
), by_viewer as (
    select arm, viewer_id, count(*) as n, count(newcomers.id) as newcomers
    from impressions cross join unnest(candidate_ids) as shown (id)
        left join newcomers on newcomers.id = shown.id
            and created_at <= served_at and created_at > served_at - interval '{NEWCOMER_DAYS} days'
    where {_SLATES} and mod(uuid_hash(slate_id)::bigint + 2147483648, $5::bigint) = 0
    group by 1, 2
)
select arm, count(*) as viewers, {_moments("newcomers", "n")} from by_viewer group by arm
"""


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Over viewers, of y (slates of a kind, say) and n (slates): Σy, Σn, Σy², Σyn, Σn², and how many viewers."""

    viewers: int = 0
    y: float = 0.0
    n: float = 0.0
    yy: float = 0.0
    yn: float = 0.0
    nn: float = 0.0

    @property
    def share(self) -> float | None:
        """None without a denominator."""
        return self.y / self.n if self.n else None


class ArmServed(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. `slow`: slates that took longer than was asked about, of those whose time is known. `newcomers`: positions given
    to people who had joined in the NEWCOMER_DAYS before, of all positions or of a sample; None where not asked for. Times in ms,
    None where not asked for or not known."""

    arm: str
    shown: int = 0
    slow: Sums = Sums()
    degraded: Sums = Sums()
    empty: Sums = Sums()
    newcomers: Sums | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be looked at besides degraded and empty slates. `slow_ms`: None counts none as slow."""

    slow_ms: float | None = None
    times: bool = False
    newcomers: bool = False


class ArmFigures:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def served(self, asked: Asked, wanted: Wanted) -> dict[str, ArmServed]:
        """By arm, in the order of `asked.arms`; all zeros for one that served nobody. Under one snapshot."""
        with translated():
            async with self._sessions() as session:
                await session.connection(execution_options=SNAPSHOT)
                return await _served(await driver(session), asked, wanted)


async def _served(connection: Any, asked: Asked, wanted: Wanted) -> dict[str, ArmServed]:
    slates = (asked.experiment, list(asked.arms), asked.window.since, asked.window.until)
    await connection.execute(_PLANNER)
    found = {name: ArmServed(arm=name) for name in asked.arms}
    for row in await connection.fetch(_SERVED, *slates, wanted.slow_ms, timeout=LONG_S):
        found[row["arm"]] = ArmServed(
            arm=row["arm"],
            shown=row["shown"],
            slow=_sums(row, "slow"),
            degraded=_sums(row, "degraded"),
            empty=_sums(row, "empty"),
        )
    if wanted.times:
        for row in await connection.fetch(_TIMES, *slates, timeout=LONG_S):
            p50_ms, p95_ms = row["quantiles"]
            found[row["arm"]] = msgspec.structs.replace(found[row["arm"]], p50_ms=p50_ms, p95_ms=p95_ms)
    if wanted.newcomers:
        one_in = max(1, sum(each.shown for each in found.values()) // MOST_POSITIONS)
        found = {name: msgspec.structs.replace(each, newcomers=Sums()) for name, each in found.items()}
        for row in await connection.fetch(_NEWCOMERS, *slates, one_in, timeout=LONG_S):
            newcomers = _sums(row, "newcomers")
            found[row["arm"]] = msgspec.structs.replace(found[row["arm"]], newcomers=newcomers)
    return found


def _sums(row: Any, name: str) -> Sums:
    return Sums(viewers=row["viewers"], **{key: row[f"{name}_{key}"] for key in ("y", "n", "yy", "yn", "nn")})
