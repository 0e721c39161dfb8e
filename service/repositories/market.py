"""How the market does: who was shown how often, when newcomers first were, and the figures made of that. The only SQL of it.

One pass over the impressions of the longest window, aggregated by the database: a row for each number of times that people were
shown, and one for each newcomer, is all that a replica ever holds. Ten million impressions of 200,000 people take 7 s of one core
of the database and 16 MB there; of more people than 64 MB hold, it uses its disk.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.domain_market import Arrivals, Ints, MarketCounts, MarketFigures, MarketPoint, TimesShown
from service.repositories.calls import Sessions, driver, read, write
from service.repositories.copied import columns
from service.repositories.failures import translated
from service.repositories.outcomes import SNAPSHOT

KEPT_DAYS = 90
"""For how long figures are kept."""
WHOLE_DAYS = 2
"""For how long all of them are kept; of older days the last ones."""

# One process of PostgreSQL, within 64 MB and then on disk: this must not take the cores from requests.
_PLANNER = "set local work_mem = '64MB'; set local max_parallel_workers_per_gather = 0; set local jit = off"

_ARRIVED = -1
"""What a row is about: the number of a window, or somebody who arrived."""
_US = "(extract(epoch from {}) * 1000000)::bigint"


def _waited(until: str) -> str:
    """-1 where it is null; `greatest` alone would pass over a null."""
    return f"case when {until} is null then -1 else greatest({_US.format(f'{until} - created_at')}, 0) end"


def _counting(n_windows: int) -> str:
    """The statement; $1 is the end of all windows, $2 and on their beginnings, the longest window first."""
    since = [f"${number + 2}::timestamptz" for number in range(n_windows)]
    counted = ", ".join(f"count(*) filter (where served_at >= {start}) as shown_{place}" for place, start in enumerate(since))
    filled = ", ".join(f"coalesce(shown_{place}, 0) as shown_{place}" for place in range(n_windows))
    windows = "\nunion all\n".join(
        f"select {place}::bigint, shown_{place}::bigint, count(*)::bigint, 0::bigint from people group by shown_{place}"
        for place in range(n_windows)
    )
    return f"""
with shown as (
    select id, min(served_at) as first_at, {counted}
    from impressions cross join unnest(candidate_ids) as listed (id)
    where served_at >= {since[0]} and served_at < $1 group by id
), people as materialized (
    select users.id, created_at, first_at, {filled} from users left join shown on shown.id = users.id where status = 'active'
)
{windows}
union all
select {_ARRIVED}::bigint, {_US.format("$1 - created_at")},
    {_waited("first_at")}, {_waited("least(as_low, as_high)")}
from people
    cross join lateral (select min(matched_at) as as_low from matches where low_id = people.id and matched_at < $1) low
    cross join lateral (select min(matched_at) as as_high from matches where high_id = people.id and matched_at < $1) high
where created_at >= {since[0]} and created_at < $1
"""


_KEEP = text("insert into market_figures (computed_at, figures) values (:computed_at, cast(:figures as jsonb))")
_FORGET = text(
    """
    delete from market_figures old where computed_at < now() - make_interval(days => :kept)
        or (computed_at < now() - make_interval(days => :whole) and exists (
            select from market_figures later where later.computed_at > old.computed_at
                and date_trunc('day', later.computed_at, 'UTC') = date_trunc('day', old.computed_at, 'UTC')))
    """
)
_NEWEST = text("select figures::text from market_figures order by computed_at desc limit 1")
# The share of people who were not shown is made of two counts, as it is in Exposure.
_BY_DAY = text(
    """
    select distinct on (date_trunc('day', computed_at, 'UTC')) computed_at,
        (exposure ->> 'gini')::float8 as gini,
        (exposure ->> 'unshown')::float8 / nullif((exposure ->> 'people')::float8, 0) as unshown_share
    from market_figures cross join lateral (
        select shown -> 'exposure' as exposure from jsonb_array_elements(figures -> 'windows') shown
        where (shown ->> 'days')::int = :days
    ) of_window
    where computed_at > now() - make_interval(days => :kept)
    order by date_trunc('day', computed_at, 'UTC'), computed_at desc
    """
)


class Market:
    """Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def count(self, until: datetime, days: Sequence[int]) -> MarketCounts:
        """What happened in the windows of so many days each that end at `until`, under one snapshot. At least one window."""
        longest_first = sorted(days, reverse=True)
        since = [until - timedelta(days=each) for each in longest_first]
        with translated():
            async with self._sessions() as session:
                await session.connection(execution_options=SNAPSHOT)
                connection = await driver(session)
                await connection.execute(_PLANNER)
                names = ("about", "first", "second", "third")
                found = await columns(connection, _counting(len(since)), (until, *since), names)
        return _counts(until, longest_first, found)

    async def keep(self, figures: MarketFigures) -> None:
        """Add the newest figures, and drop what is too old."""
        row: dict[str, Any] = {"computed_at": figures.until, "figures": msgspec.json.encode(figures).decode()}

        async def work(session: AsyncSession) -> None:
            await session.execute(_KEEP, row)
            await session.execute(_FORGET, {"kept": KEPT_DAYS, "whole": WHOLE_DAYS})

        await write(self._sessions, work)

    async def newest(self) -> MarketFigures | None:
        """None before the first round."""

        async def work(session: AsyncSession) -> str | None:
            found: str | None = await session.scalar(_NEWEST)
            return found

        found = await read(self._sessions, work)
        return None if found is None else msgspec.json.decode(found, type=MarketFigures)

    async def by_day(self, days: int) -> tuple[MarketPoint, ...]:
        """The last figures of each day of the last KEPT_DAYS, for the window of so many days; the oldest first."""

        async def work(session: AsyncSession) -> Sequence[Any]:
            return (await session.execute(_BY_DAY, {"days": days, "kept": KEPT_DAYS})).all()

        rows = await read(self._sessions, work)
        return tuple(MarketPoint(until=row.computed_at, gini=row.gini, unshown_share=row.unshown_share) for row in rows)


def _counts(until: datetime, longest_first: Sequence[int], found: dict[str, Ints]) -> MarketCounts:
    about, first, second, third = (found[name] for name in ("about", "first", "second", "third"))
    arrived = about == _ARRIVED
    shown = {}
    for place, days in enumerate(longest_first):
        of_window = np.flatnonzero(about == place)
        shown[days] = TimesShown(first[of_window], second[of_window])
    return MarketCounts(until, shown, Arrivals(first[arrived], second[arrived], third[arrived]))
