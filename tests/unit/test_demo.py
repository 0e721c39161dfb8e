"""The demo population, made without a database."""

from datetime import UTC, datetime

import numpy as np
import pytest

from service.domain import Kind, Profile
from service.features.geography import distance_km
from service.repositories.demo import Population
from service.transfer.demo import DemoRequest, generate

REFERENCE = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def demo() -> Population:
    return generate(DemoRequest(n_people=400, seed=5, reference=REFERENCE))


def seeks(one: Profile, other: Profile) -> bool:
    """The rule for one pair, written out anew."""
    assert one.seeks_min_age is not None
    assert one.seeks_max_age is not None
    gender = not one.seeks_genders or other.gender in one.seeks_genders
    age = one.seeks_min_age <= (other.age or 0) <= one.seeks_max_age
    km = distance_km(one.latitude or 0, one.longitude or 0, other.latitude or 0, other.longitude or 0)
    return gender and age and (one.seeks_max_km is None or km <= one.seeks_max_km)


def standing(demo: Population, kind: Kind) -> set[tuple[int, int]]:
    rows = zip(demo.actors.tolist(), demo.targets.tolist(), demo.kinds, strict=True)
    return {(actor, target) for actor, target, done in rows if done == kind}


def test_same_request_makes_the_same_rows(demo: Population) -> None:
    again = generate(DemoRequest(n_people=400, seed=5, reference=REFERENCE))
    assert again.people == demo.people
    assert again.kinds == demo.kinds
    for name in ("actors", "targets", "times_s", "matches"):
        np.testing.assert_array_equal(getattr(again, name), getattr(demo, name))


def test_another_seed_makes_other_people(demo: Population) -> None:
    other = generate(DemoRequest(n_people=400, seed=6, reference=REFERENCE))
    assert sum(one.name == two.name for one, two in zip(demo.people, other.people, strict=True)) < 20


def test_ids_are_one_to_n_and_each_has_forty_eligible_others_left(demo: Population) -> None:
    assert [person.id for person in demo.people] == list(range(1, 401))
    passes = standing(demo, Kind.PASS) | standing(demo, Kind.BLOCK)
    spent = standing(demo, Kind.LIKE) | passes | {(target, actor) for actor, target in passes}
    for one in demo.people:
        left = [
            two for two in demo.people if two is not one and seeks(one, two) and seeks(two, one) and (one.id, two.id) not in spent
        ]
        assert len(left) >= 40, one


def test_all_that_happened_was_between_people_who_seek_each_other(demo: Population) -> None:
    by_id = {person.id: person for person in demo.people}
    for actor, target in zip(demo.actors.tolist(), demo.targets.tolist(), strict=True):
        assert actor != target
        assert seeks(by_id[actor], by_id[target])
        assert seeks(by_id[target], by_id[actor])


def test_nothing_happens_before_joining_or_after_the_reference(demo: Population) -> None:
    joined_s = np.array([person.created_at.timestamp() for person in demo.people])
    assert (demo.times_s >= joined_s[demo.actors - 1]).all()
    assert (demo.times_s < REFERENCE.timestamp()).all()


def test_last_active_is_the_last_deed(demo: Population) -> None:
    last_s = dict.fromkeys(range(1, 401), 0)
    for actor, time_s in zip(demo.actors.tolist(), demo.times_s.tolist(), strict=True):
        last_s[actor] = max(last_s[actor], time_s)
    for person in demo.people:
        assert person.last_active_at is not None
        assert person.last_active_at.timestamp() == max(last_s[person.id], person.created_at.timestamp())


def test_matches_are_the_mutual_likes_at_the_time_of_the_later(demo: Population) -> None:
    likes = {
        (actor, target): time_s
        for actor, target, kind, time_s in zip(
            demo.actors.tolist(), demo.targets.tolist(), demo.kinds, demo.times_s.tolist(), strict=True
        )
        if kind == Kind.LIKE
    }
    mutual = {(a, b): max(time_s, likes[b, a]) for (a, b), time_s in likes.items() if a < b and (b, a) in likes}
    assert {(low, high): time_s for low, high, time_s in demo.matches.tolist()} == mutual
    assert len(mutual) > 100


def test_messages_pass_only_between_matches_and_never_twice_at_a_time(demo: Population) -> None:
    matched = {(low, high) for low, high, _ in demo.matches.tolist()}
    messages = [
        (actor, target, time_s)
        for actor, target, kind, time_s in zip(
            demo.actors.tolist(), demo.targets.tolist(), demo.kinds, demo.times_s.tolist(), strict=True
        )
        if kind == Kind.MESSAGE
    ]
    assert len(messages) > 100
    assert len(set(messages)) == len(messages)
    assert {(min(a, b), max(a, b)) for a, b, _ in messages} <= matched


def test_likes_are_three_in_ten_and_popularity_is_skewed(demo: Population) -> None:
    likes, passes = (sum(done == kind for done in demo.kinds) for kind in (Kind.LIKE, Kind.PASS))
    assert 0.25 < likes / (likes + passes) < 0.40
    received = np.bincount([target for _, target in standing(demo, Kind.LIKE)], minlength=401)[1:]
    assert np.sort(received)[-40:].sum() > 2.0 * received.sum() / 10


@pytest.mark.parametrize("n_people", [1, 2, 10, 41, 100])
def test_few_people_are_all_open_to_each_other(n_people: int) -> None:
    demo = generate(DemoRequest(n_people=n_people, seed=1, reference=REFERENCE))
    for one in demo.people:
        others = [two for two in demo.people if two is not one and seeks(one, two) and seeks(two, one)]
        assert len(others) >= min(40, n_people - 1)
