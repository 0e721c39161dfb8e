"""Who may be shown to whom: the rules, once, for one pair. Pure, and applied to every answer, from whatever cache it comes.

The population's mask decides the same for everyone at once, on what a replica remembers; this decides on what the database says.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from service.domain import Filters, Profile, RecommendationRequest, Relations, Status
from service.features.geography import distance_km

_NO_FILTERS = Filters()


def hidden_reason(candidate_id: int, relations: Relations, request: RecommendationRequest) -> str | None:
    """Why interactions or the request itself keep this candidate away, before any profile is looked at; None if nothing does."""
    if candidate_id == request.viewer_id:
        return "self"
    if candidate_id in relations.blocked:
        return "blocked"
    if candidate_id in relations.passed_by:
        return "passed_viewer"
    if request.exclude_seen and (candidate_id in relations.liked or candidate_id in relations.passed):
        return "seen"
    if candidate_id in request.exclude_ids:
        return "excluded"
    return None


def left_out(relations: Relations, request: RecommendationRequest) -> frozenset[int]:
    """Everyone whom `hidden_reason` has a reason against, at once."""
    seen = relations.seen() if request.exclude_seen else frozenset()
    return relations.hidden() | seen | request.exclude_ids | {request.viewer_id}


def ineligible_reason(
    viewer: Profile, candidate: Profile, relations: Relations, request: RecommendationRequest, now: datetime
) -> str | None:
    """Why this candidate may not be shown to this viewer now, as one word; None when nothing speaks against it.

    An unknown age, gender or place fails a filter of the request and not a preference.
    """
    return hidden_reason(candidate.id, relations, request) or unfit_reason(viewer, candidate, request.filters, now)


def unfit_reason(viewer: Profile, candidate: Profile, filters: Filters, now: datetime) -> str | None:
    """The same of whom neither interactions nor the request itself keep away: what the two profiles and the filters say."""
    if candidate.status is not Status.ACTIVE:
        return "inactive"
    return (
        not_sought("viewer_seeks", viewer, candidate)
        or not_sought("candidate_seeks", candidate, viewer)
        or (None if filters == _NO_FILTERS else _filtered(viewer, candidate, filters, now))
    )


def not_sought(whose: str, seeker: Profile, other: Profile) -> str | None:
    """What of `other` is known not to be what `seeker` seeks."""
    if seeker.seeks_genders and other.gender is not None and other.gender.casefold() not in _casefolded(seeker.seeks_genders):
        return f"{whose}_other_gender"
    if other.age is not None and _out_of_range(other.age, seeker.seeks_min_age, seeker.seeks_max_age):
        return f"{whose}_other_age"
    if seeker.seeks_max_km is not None:
        distance = between_km(seeker, other)
        if distance is not None and distance > seeker.seeks_max_km:
            return f"{whose}_nearer"
    return None


def _filtered(viewer: Profile, candidate: Profile, filters: Filters, now: datetime) -> str | None:
    """The first filter of the request that the candidate fails."""
    wants_age = filters.min_age is not None or filters.max_age is not None
    if wants_age and (candidate.age is None or _out_of_range(candidate.age, filters.min_age, filters.max_age)):
        return "filter_age"
    if not _any_of(filters.genders, (candidate.gender,)):
        return "filter_gender"
    if not _any_of(filters.locations, (candidate.location,)):
        return "filter_location"
    if not _any_of(filters.interests, candidate.interests):
        return "filter_interests"
    if filters.max_km is not None:
        distance = between_km(viewer, candidate)
        if distance is None or distance > filters.max_km:
            return "filter_distance"
    if filters.active_within_days is not None:
        seen_at = candidate.last_active_at
        if seen_at is None or now - seen_at > timedelta(days=filters.active_within_days):
            return "filter_activity"
    return None


def between_km(one: Profile, other: Profile) -> float | None:
    """Great-circle distance of two people; None when either place is unknown."""
    if one.latitude is None or one.longitude is None or other.latitude is None or other.longitude is None:
        return None
    return distance_km(one.latitude, one.longitude, other.latitude, other.longitude)


@lru_cache(256)
def _casefolded(words: tuple[str, ...]) -> frozenset[str]:
    """There are few different ones, and callers choose how long."""
    return frozenset(map(str.casefold, words))


def _out_of_range(age: int, low: int | None, high: int | None) -> bool:
    return (low is not None and age < low) or (high is not None and age > high)


def _any_of(wanted: tuple[str, ...], values: tuple[str | None, ...]) -> bool:
    """Whether any value is wanted, whatever its case; `wanted` is casefolded, and empty when anything goes."""
    return not wanted or any(value is not None and value.casefold() in wanted for value in values)
