"""Why somebody is recommended, in words a product can show: made of what a ranker's score is made of, and of facts. Pure.

A reason is told when features speak *for* the candidate, and when the facts behind it hold as the two profiles have them now; so
nothing is invented, and what counts against somebody is never told. What people do is private, and what they seek as well:
features of these are never put into words (`SILENT`), and others' likes only where they are those of many.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain import Profile
from service.recommend.eligibility import between_km

MOST = 3
LEAST_LOG_ODDS = 0.05
"""Of a theme's contribution: with less, the odds of a match are within 5 % of what they would be without it."""

SILENT = frozenset(
    {
        "likes_viewer",  # what one person did
        "candidate_log_likes_given",  # what one person does
        "candidate_like_rate_given",
        "viewer_age_fit",  # what one person seeks
        "viewer_completeness",  # the same for everybody shown: no reason for anybody
        "viewer_log_likes_received",
        "viewer_log_likes_given",
        "viewer_like_rate_received",
        "viewer_like_rate_given",
    }
)

_FEW_LIKES = 5
"""Likes by fewer, or of fewer, are acts of people whom one might guess."""
_MANY_LIKES = 20
_ALIKE = 0.65
"""Cosine of two profiles from which on they have much in common: of eligible pairs of the demo population, one in ten."""
_SAME_AGE_YEARS = 3
_NEAR_KM = 100
_NAMED_INTERESTS = 2
_LONGEST_INTEREST = 40
"""Characters; longer ones are counted and not named."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pair:
    """The facts about a viewer and a candidate. `values`: features by name. Numbers of likes are without those between the two:
    `n_liked_by` of the candidate, `n_likes` by the candidate, `n_viewer_likes` by the viewer."""

    viewer: Profile
    candidate: Profile
    now: datetime
    values: Mapping[str, float]
    n_liked_by: int = 0
    n_likes: int = 0
    n_viewer_likes: int = 0


Phrase = Callable[[Pair], str | None]
"""A fact in words; None where it does not hold."""


def reasons(contributions: Mapping[str, float], pair: Pair) -> tuple[str, ...]:
    """The strongest reasons first, at most MOST. `contributions`: by feature, what it adds to the log-odds of a match, against
    an average candidate. Features of one theme are added up first: where two say nearly the same, a ranker may add much for
    the one and take it away for the other."""
    strength: dict[str, float] = {}
    for name, amount in contributions.items():
        if name in _PHRASES:
            theme = _PHRASES[name][0]
            strength[theme] = strength.get(theme, 0.0) + amount
    told: list[str] = []
    for _, theme in sorted((-amount, theme) for theme, amount in strength.items() if amount >= LEAST_LOG_ODDS):
        phrase = _phrase(theme, contributions, pair)
        if phrase is not None:
            told.append(phrase)
        if len(told) == MOST:
            break
    return tuple(told)


def _phrase(theme: str, contributions: Mapping[str, float], pair: Pair) -> str | None:
    """The words of the theme's strongest feature that speaks for the candidate and whose facts hold."""
    speaking = sorted((-contributions.get(name, 0.0), name) for name in _FEATURES[theme])
    phrases = (_PHRASES[name][1](pair) for against, name in speaking if against < 0)
    return next(filter(None, phrases), None)


def _taste_of_viewer(pair: Pair) -> str | None:
    if pair.n_liked_by >= _FEW_LIKES:
        return "people like you liked them"
    return "resembles people you liked" if pair.n_viewer_likes >= _FEW_LIKES else None


def _taste_of_candidate(pair: Pair) -> str | None:
    return "liked people like you" if pair.n_likes >= _FEW_LIKES else None


def _taste_of_both(pair: Pair) -> str | None:
    return "likely to suit you both" if pair.values.get("mutual_affinity", 0.0) > 0.5 else None


def _profile_alike(pair: Pair) -> str | None:
    return "has a profile much like yours" if pair.values.get("content_similarity", 0.0) >= _ALIKE else None


def _interests(pair: Pair) -> str | None:
    """In the candidate's order and spelling."""
    own = {interest.casefold() for interest in pair.viewer.interests}
    by_folded = {interest.casefold(): interest for interest in reversed(pair.candidate.interests)}
    shared = [by_folded.pop(word) for one in pair.candidate.interests if (word := one.casefold()) in own and word in by_folded]
    named = [interest for interest in shared if len(interest) <= _LONGEST_INTEREST][:_NAMED_INTERESTS]
    more = len(shared) - len(named)
    if not named:
        return None
    if not more:
        return f"shares {' and '.join(named)}"
    return f"shares {', '.join(named)} and {more} more interest{'s' if more > 1 else ''}"


def _same_age(pair: Pair) -> str | None:
    one, other = pair.viewer.age, pair.candidate.age
    return "is about your age" if one is not None and other is not None and abs(one - other) <= _SAME_AGE_YEARS else None


def _sought_age(pair: Pair) -> str | None:
    low, high, age = pair.viewer.seeks_min_age, pair.viewer.seeks_max_age, pair.candidate.age
    if low is None or high is None or age is None:
        return None
    return "is of an age you look for" if low <= age <= high else None


def _near(pair: Pair) -> str | None:
    """Rounded, the more the further away: where exactly people live is theirs to tell."""
    km = between_km(pair.viewer, pair.candidate)
    if km is None or km > _NEAR_KM:
        return None
    if km < 1:
        return "lives less than 1 km away"
    return f"lives {round(km) if km < 10 else 5 * round(km / 5)} km away"


def _same_place(pair: Pair) -> str | None:
    here, there = pair.viewer.location, pair.candidate.location
    return f"also in {there}" if here and there and here.casefold() == there.casefold() else None


def _detailed(pair: Pair) -> str | None:
    return "has a detailed profile" if pair.candidate.bio and pair.candidate.interests else None


def _active(pair: Pair) -> str | None:
    return _lately("active", pair.candidate.last_active_at, pair.now)


def _new(pair: Pair) -> str | None:
    return _lately("joined", pair.candidate.created_at, pair.now)


def _lately(did: str, at: datetime | None, now: datetime) -> str | None:
    """Not "today": where the two live, it may be another day."""
    if at is None or now - at > timedelta(days=7):
        return None
    return f"{did} in the last {'day' if now - at <= timedelta(days=1) else 'week'}"


def _popular(pair: Pair) -> str | None:
    return "liked by many people" if pair.n_liked_by >= _MANY_LIKES else None


_PHRASES: dict[str, tuple[str, Phrase]] = {
    "forward_affinity": ("taste", _taste_of_viewer),
    "backward_affinity": ("taste", _taste_of_candidate),
    "mutual_affinity": ("taste", _taste_of_both),
    "content_similarity": ("profile", _profile_alike),
    "shared_interests": ("interests", _interests),
    "interest_jaccard": ("interests", _interests),
    "age_gap_years": ("age", _same_age),
    "age_difference_years": ("age", _same_age),
    "age_fit": ("age", _sought_age),
    "distance_km": ("place", _near),
    "same_location": ("place", _same_place),
    "candidate_completeness": ("completeness", _detailed),
    "candidate_days_since_active": ("activity", _active),
    "candidate_account_age_days": ("newness", _new),
    "candidate_log_likes_received": ("popularity", _popular),
    "candidate_like_rate_received": ("popularity", _popular),
}
"""By feature: its theme, and the words for it. Every feature is here or in SILENT."""

TELLING = frozenset(_PHRASES)
_FEATURES = {theme: [name for name in _PHRASES if _PHRASES[name][0] == theme] for theme, _ in _PHRASES.values()}
