"""What changes shows in lists at once, over HTTP and on a trained bundle: people who come, go and change, and first likes.

The replica serves a demo population and explores nothing, so that the same question has the same answer until something happens.
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from service.transfer.demo_words import TASTES
from tests.embedded import eventually
from tests.replicas import Replica, shown
from tests.world import World

MEASURED = logging.getLogger("tests.freshness")
"""What was measured, which `pytest -rP` shows: on a busy machine anything may take any time."""
PROMPT_S = 60.0
HEARD = 'amity_feed_changes_total{entity="user"}'
ISLE = {"latitude": -49.35, "seeks_max_km": 50.0}
new_ids = itertools.count(10_001)
degrees = itertools.count(1)


@pytest.fixture(scope="module")
def replica(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    settings = world.changed(EXPLORATION_SHARE="0")
    with Replica(settings, tmp_path_factory.mktemp("freshness") / "replica.log") as started:
        assert started.recommend(1)["degraded"] == []
        yield started
        assert started.metric("amity_unexpected_errors_total") == 0, started.said


def settled(replica: Replica, write: Callable[[], object]) -> float:
    """Write, and wait until the replica has heard of it by the feed, and no longer; seconds from the reply to then."""
    heard = replica.metric(HEARD)
    write()
    begun_s = time.perf_counter()
    assert eventually(lambda: replica.metric(HEARD) > heard, PROMPT_S)
    return time.perf_counter() - begun_s


def join(replica: Replica, **profile: Any) -> int:
    """Somebody new, of whom the replica has not heard yet."""
    person_id = next(new_ids)
    answer = replica.client.put(f"/api/v1/users/{person_id}", json={"name": "Newcomer"} | profile)
    assert answer.status_code == 201, answer.text
    return person_id


def profile(replica: Replica, person_id: int) -> dict[str, Any]:
    """Somebody's profile as somebody else may have it too."""
    body: dict[str, Any] = replica.client.get(f"/api/v1/users/{person_id}").raise_for_status().json()
    return {name: value for name, value in body.items() if name not in ("id", "created_at", "last_active_at")}


@pytest.fixture
def village(replica: Replica) -> list[int]:
    """A viewer and five others on an isle of their own, whom nobody but each other can be shown; the feed has told of them."""
    place = ISLE | {"longitude": float(next(degrees) * 5)}
    ids = [next(new_ids) for _ in range(6)]
    people = [{"id": one, "name": "Islander", "age": 30} | place for one in ids]
    settled(replica, lambda: replica.client.post("/api/v1/users/batch", json={"users": people}).raise_for_status())
    assert sorted(shown(replica.recommend(ids[0]))) == ids[1:]
    assert replica.recommend(ids[0])["cached"] is True
    return ids


@pytest.mark.parametrize("viewer", [1, 2, 3])
def test_somebody_new_is_recommended_once_the_feed_has_told_of_them(replica: Replica, viewer: int) -> None:
    """Among the first twenty of whom the newcomer fits: they are as the viewer's first is."""
    first = shown(replica.recommend(viewer, use_cache=False))[0]
    twin = profile(replica, first)
    joined: list[int] = []
    seconds = settled(replica, lambda: joined.append(join(replica, **twin)))
    answer = replica.recommend(viewer, use_cache=False)
    MEASURED.warning("heard of %.0f ms after the 201", seconds * 1000)
    assert (joined[0] in shown(answer), answer["degraded"]) == (True, [])


def test_somebody_new_gets_recommendations_before_the_feed_has_told_of_them(replica: Replica) -> None:
    newcomer = join(replica, **profile(replica, 4))
    answer = replica.recommend(newcomer)
    assert (answer["total_count"], answer["degraded"], answer["algorithm_version"]) == (20, [], "v1")


GOING: dict[str, Callable[[Replica, int, int], object]] = {
    "erased": lambda replica, viewer, other: replica.client.delete(f"/api/v1/users/{other}").raise_for_status(),
    "blocked": lambda replica, viewer, other: replica.act((viewer, other, "block")),
    "blocks": lambda replica, viewer, other: replica.act((other, viewer, "block")),
}


@pytest.mark.parametrize("what", GOING)
def test_a_newcomer_who_goes_is_gone_from_the_very_next_answers(replica: Replica, village: list[int], what: str) -> None:
    viewer, other, *left = village
    GOING[what](replica, viewer, other)
    for query in ({}, {"use_cache": False}, {"exclude_seen": False}):
        assert sorted(shown(replica.recommend(viewer, **query))) == left
    alike = replica.client.get(f"/api/v1/recommendations/users/{viewer}/similar?limit=100").json()["similar"]
    assert other not in [person["id"] for person in alike]


@pytest.mark.parametrize("what", GOING)
def test_somebody_of_the_bundle_who_goes_is_gone_from_the_very_next_answer(replica: Replica, what: str) -> None:
    viewer = 11 + list(GOING).index(what)
    other = shown(replica.recommend(viewer))[0]
    GOING[what](replica, viewer, other)
    for use_cache in (True, False):
        answer = replica.recommend(viewer, use_cache=use_cache)
        assert (other in shown(answer), answer["total_count"]) == (False, 20)


def test_the_other_side_of_a_block_loses_the_one_too(replica: Replica, village: list[int]) -> None:
    viewer, other, *left = village
    assert sorted(shown(replica.recommend(other))) == sorted({viewer, *left})
    replica.act((viewer, other, "block"))
    assert sorted(shown(replica.recommend(other))) == left


@pytest.mark.parametrize("change", [{"age": 50}, {"latitude": 10.0}, {"gender": "other"}])
def test_who_changes_out_of_what_a_viewer_seeks_leaves_with_the_next_answer_and_comes_back(
    replica: Replica, village: list[int], change: dict[str, Any]
) -> None:
    viewer, other, *left = village
    settled(replica, lambda: replica.patch(viewer, seeks_max_age=40, seeks_genders=["islander"]))
    settled(replica, lambda: replica.patch(other, gender="islander"))
    before = {name: value for name, value in profile(replica, other).items() if name in change}
    assert sorted(shown(replica.recommend(viewer))) == [other, *left]  # of unknown gender, and young
    replica.patch(other, **change)
    assert sorted(shown(replica.recommend(viewer))) == left
    settled(replica, lambda: replica.patch(other, **before))
    assert sorted(shown(replica.recommend(viewer))) == [other, *left]


def test_a_viewer_who_moves_gets_the_people_of_the_new_place_in_the_next_answer(replica: Replica, village: list[int]) -> None:
    viewer, *left = village
    berlin = next(person for person in range(1, 300) if profile(replica, person)["location"] == "Berlin")
    place = {name: profile(replica, berlin)[name] for name in ("latitude", "longitude", "location")}
    replica.patch(viewer, **place)
    people = replica.recommend(viewer, limit=100)["recommendations"]
    assert {person["location"] for person in people} == {"Berlin"}
    assert not set(left) & {person["id"] for person in people}


def of_taste(taste: str, interests: list[str]) -> int:
    """How many of somebody's interests are of a taste."""
    [words] = [each.interests for each in TASTES if each.name == taste]
    return len({*words} & {*interests})


class Newcomer:
    """Somebody new with the profile of a demo person, and the list that they get before they have liked anybody."""

    def __init__(self, replica: Replica, like_whom: int) -> None:
        self.replica = replica
        own = profile(replica, like_whom)
        joined: list[int] = []
        settled(replica, lambda: joined.append(join(replica, **own)))
        self.id = joined[0]
        self.before = replica.recommend(self.id, limit=100)["recommendations"]
        later = self.before[20:]
        foreign = [taste.name for taste in TASTES if of_taste(taste.name, own["interests"]) == 0]
        self.taste = max(foreign, key=lambda taste: sum(of_taste(taste, each["interests"]) > 1 for each in later))
        self.likes = [each["id"] for each in sorted(later, key=lambda each: -of_taste(self.taste, each["interests"]))[:3]]
        """Three from beyond the first twenty, of a taste that the profile has nothing of."""

    def like(self, how_many: int) -> list[dict[str, Any]]:
        """Say so of the first of them, and ask again."""
        self.replica.act(*((self.id, liked, "like") for liked in self.likes[:how_many]))
        people: list[dict[str, Any]] = self.replica.recommend(self.id)["recommendations"]
        return people

    def warmth(self, people: list[dict[str, Any]]) -> float:
        """Interests of the liked taste, a person of the first twenty."""
        return sum(of_taste(self.taste, each["interests"]) for each in people[:20]) / 20


def scores(people: list[dict[str, Any]]) -> Mapping[int, float]:
    return {person["id"]: person["match_score"] for person in people}


def test_a_newcomers_list_stays_the_same_while_nothing_happens(replica: Replica) -> None:
    newcomer = Newcomer(replica, 21)
    again = replica.recommend(newcomer.id, limit=100, use_cache=False)["recommendations"]
    assert scores(again) == scores(newcomer.before)


def test_the_first_like_of_newcomers_moves_those_like_the_liked_up_in_the_next_answer(replica: Replica) -> None:
    """Places that they gain among those who are in both lists."""
    gained = []
    for newcomer in [Newcomer(replica, person) for person in range(31, 36)]:
        newcomer.like(1)
        answer = replica.recommend(newcomer.id, limit=100)
        assert newcomer.likes[0] not in shown(answer)
        after = [person for person in shown(answer) if person in scores(newcomer.before)]
        before = [person for person in scores(newcomer.before) if person in after]
        alike = [each["id"] for each in newcomer.before if of_taste(newcomer.taste, each["interests"]) > 1]
        gained += [before.index(person) - after.index(person) for person in alike if person in after]
    MEASURED.warning("%d people like the liked moved up by %.1f places", len(gained), sum(gained) / len(gained))
    assert sum(gained) / len(gained) > 1


def test_three_likes_of_newcomers_bring_other_people_more_like_those_they_liked(replica: Replica) -> None:
    """Of each of six newcomers the next answer; what they have in common with the liked, over all six."""
    newcomers = [Newcomer(replica, person) for person in range(41, 47)]
    overlaps, warmer = [], []
    for newcomer in newcomers:
        after = newcomer.like(3)
        assert len(after) == 20
        overlaps.append(len(scores(after).keys() & scores(newcomer.before[:20]).keys()))
        warmer.append((newcomer.warmth(newcomer.before), newcomer.warmth(after)))
    before, now = (sum(each[place] for each in warmer) / len(warmer) for place in (0, 1))
    MEASURED.warning("overlap@20 %s; interests in common %.2f before, %.2f after", overlaps, before, now)
    assert sum(overlaps) / len(overlaps) < 18
    assert now > before, (overlaps, warmer)
