"""Why a list is short or empty, in one sentence."""

from collections.abc import Awaitable, Callable

import msgspec

from service.domain import Filters
from service.recommend.ports import Asking

Count = Callable[[Asking], Awaitable[int]]
"""How many people are eligible for an asking."""

NOTHING_WORKS = "Recommendations cannot be computed right now; please ask again shortly."
NOBODY_KNOWN = "The database is away and this person is not known here yet; please ask again shortly."

INELIGIBLE = {
    "self": "it is the viewer",
    "blocked": "one has blocked the other",
    "passed_viewer": "the candidate has passed the viewer",
    "seen": "the viewer has liked or passed the candidate, and exclude_seen is on",
    "excluded": "the candidate is among exclude_ids",
    "inactive": "the candidate is paused or banned",
    "viewer_seeks_other_gender": "the viewer seeks another gender",
    "viewer_seeks_other_age": "the viewer seeks another age",
    "viewer_seeks_nearer": "the viewer seeks somebody nearer",
    "candidate_seeks_other_gender": "the candidate seeks another gender",
    "candidate_seeks_other_age": "the candidate seeks another age",
    "candidate_seeks_nearer": "the candidate seeks somebody nearer",
    "filter_age": "the filter on age",
    "filter_gender": "the filter on gender",
    "filter_location": "the filter on location",
    "filter_interests": "the filter on interests",
    "filter_distance": "the filter max_km",
    "filter_activity": "the filter active_within_days",
}
"""What breaks each rule of eligibility, for operators."""

_RULES: tuple[tuple[Callable[[Asking], Asking], str], ...] = (
    (lambda asking: msgspec.structs.replace(asking, without=frozenset()), "is among exclude_ids"),
    (lambda asking: msgspec.structs.replace(asking, exclude_seen=False), "was already seen"),
    (lambda asking: msgspec.structs.replace(asking, filters=Filters()), "is kept out by the filters"),
)
"""What the request itself asks for, taken away one after another to find the first that keeps people out."""


async def explain(n_shown: int, n_eligible: int, limit: int, asking: Asking, count: Count) -> str | None:
    """None for a full list. `n_eligible` people are eligible for `asking`; `count` gives as much for another one."""
    if n_shown >= limit:
        return None
    start, everyone = ("", "Everyone") if not n_shown else (f"Only {n_shown} of {limit}: ", "everyone else")
    if n_eligible > n_shown:
        return f"{start}{everyone} eligible could not be found right now; please ask again shortly."
    for without_rule, reason in _RULES:
        relaxed = without_rule(asking)
        if _differs(relaxed, asking) and await count(relaxed) > n_shown:
            return f"{start}{everyone} eligible {reason}."
        asking = relaxed
    if n_shown:
        return f"{start}nobody else is active and such that each is what the other seeks."
    return "Nobody is eligible: no active person is such that each is what the other seeks."


def _differs(one: Asking, other: Asking) -> bool:
    return (one.without, one.exclude_seen, one.filters) != (other.without, other.exclude_seen, other.filters)
