"""Which slates an estimate may count: not those that a ranker learnt from, unless it is told to."""

from datetime import UTC, datetime, timedelta

import pytest

from service.artifacts.bundle import Bundle, Manifest
from service.cli.estimate import Question, window_of
from service.domain import FeedPosition
from service.plugins import LoadedRanker

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
A_MINUTE = timedelta(minutes=1)


def bundle(created_at: datetime) -> Bundle:
    manifest = Manifest(
        version="b",
        created_at=created_at,
        window_start=None,
        window_end=None,
        seed=1,
        feed_position=FeedPosition(),
        n_people=0,
        n_interactions=0,
    )
    return Bundle(manifest, {}, {})


def ranker(name: str, needs_bundle: bool) -> LoadedRanker:
    return LoadedRanker(
        name=name,
        version="1",
        distribution="d",
        distribution_version="1",
        required_features=("distance_km",),
        needs_bundle=needs_bundle,
        inline=True,
        ranker=None,
    )


LEARNT = {"heuristic": ranker("heuristic", False), "v1": ranker("v1", True)}


def test_slates_from_before_the_bundle_are_left_out_and_said() -> None:
    window, [note] = window_of(Question(algorithm="v1"), bundle(YESTERDAY), LEARNT)
    assert window.since == YESTERDAY
    assert "v1 may have learnt" in note
    assert "heuristic" not in note


def test_they_count_when_asked_for_and_that_is_said_too() -> None:
    window, [note] = window_of(Question(algorithm="v1", in_sample=True), bundle(YESTERDAY), LEARNT)
    assert window.since == pytest.approx(datetime.now(UTC) - timedelta(days=28), abs=A_MINUTE)
    assert "better than they are" in note


@pytest.mark.parametrize(
    ("made_at", "rankers"),
    [(YESTERDAY - timedelta(days=40), LEARNT), (YESTERDAY, {"heuristic": LEARNT["heuristic"]}), (None, LEARNT)],
)
def test_an_older_bundle_or_rankers_that_learn_nothing_take_nothing_away(
    made_at: datetime | None, rankers: dict[str, LoadedRanker]
) -> None:
    made = None if made_at is None else bundle(made_at)
    window, notes = window_of(Question(algorithm="heuristic", days=28), made, rankers)
    assert window.until - window.since == timedelta(days=28)
    assert notes == []
