"""What people do on a service like this: who comes when, whom they like of those they are shown, and what else they change.

Pure, and the same for the same seed; `benchmarks.locustfile` does it over HTTP.
"""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from benchmarks.traffic import popularity

NEW_IDS_FROM = 1 << 40
"""Newcomers get random ids from here on, so that two runs do not meet."""
STAYS = 0.9
"""Of those who have looked at one person, so many look at the next: 88 % of the visits that are shown 20 end before the last."""
INTERESTS = ("hiking", "photography", "travel", "music", "yoga", "cooking", "chess", "art", "films", "running")


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """`per_s` visits arrive, whatever the service does. Shares are of the visits."""

    people: int = 5000
    per_s: float = 50.0
    exponent: float = 1.0
    cold_share: float = 0.05
    """By somebody drawn evenly from all, who has mostly not been there lately."""
    join_share: float = 0.01
    """By somebody new, who has no history at all."""
    edit_share: float = 0.03
    again_share: float = 0.3
    """Who asks for more people after having acted."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """`due_s` from the start. `number` makes whatever is drawn within the visit the same again."""

    number: int
    due_s: float
    viewer_id: int
    joins: bool
    edits: bool
    again: bool


def visits(habits: Habits, seed: Sequence[int]) -> Iterator[Visit]:
    """Visits without end, in order of when they are due: a Poisson process."""
    rng = np.random.default_rng([*seed, 3])
    ids = np.random.default_rng([seed[0], 1]).permutation(np.arange(1, habits.people + 1))  # the same popular people in all
    shares, due_s, number = popularity(habits.people, habits.exponent).cumsum(), 0.0, 0
    while True:
        due_s += rng.exponential(1 / habits.per_s)
        kind, popular, even = rng.random(), rng.random(), int(rng.integers(habits.people))
        joins = bool(kind < habits.join_share)
        rank = even if kind < habits.join_share + habits.cold_share else min(int(np.searchsorted(shares, popular)), len(ids) - 1)
        newcomer = NEW_IDS_FROM + int(rng.integers(NEW_IDS_FROM))
        edits, again = (rng.random(2) < (habits.edit_share, habits.again_share)).tolist()
        viewer_id = newcomer if joins else int(ids[rank])
        yield Visit(number=number, due_s=due_s, viewer_id=viewer_id, joins=joins, edits=edits, again=again)
        number += 1


def decisions(shown: Sequence[tuple[int, float]], rng: np.random.Generator) -> list[tuple[int, str]]:
    """(id, `like` or `pass`) for those looked at, of (id, match_score) in the order shown.

    People look from the top and leave after any of them, so that the 10th is looked at by 39 %; who is looked at is liked with
    the probability of a match, and passed otherwise.
    """
    left = rng.random(len(shown)) >= STAYS
    n_looked_at = int(np.argmax(left)) + 1 if left.any() else len(shown)
    liked = rng.random(len(shown)) < np.array([score for _, score in shown])
    return [(person_id, "like" if likes else "pass") for (person_id, _), likes in zip(shown[:n_looked_at], liked, strict=False)]


def newcomer(rng: np.random.Generator) -> dict[str, object]:
    """The profile with which somebody joins."""
    interests = rng.choice(INTERESTS, size=3, replace=False).tolist()
    return {
        "name": "Newcomer",
        "age": int(rng.integers(20, 60)),
        "gender": str(rng.choice(["female", "male"])),
        "bio": f"New here; likes {interests[0]}",
        "interests": interests,
    }


def new_bio(rng: np.random.Generator) -> dict[str, object]:
    """A change of a profile that changes nobody's list."""
    return {"bio": f"Likes {rng.choice(INTERESTS)} and {rng.choice(INTERESTS)}, edited {int(rng.integers(1_000_000))} times"}
