"""The traffic that locust makes is that of people: some come often, look from the top, and like whom the score says."""

import itertools
from collections import Counter

import msgspec
import numpy as np
import pytest

from benchmarks.behaviour import NEW_IDS_FROM, STAYS, Habits, Visit, decisions, newcomer, visits
from service.controllers.people_shapes import PersonBody

PLAIN = Habits(people=200, per_s=20, cold_share=0, join_share=0)


def first(habits: Habits, n: int, seed: tuple[int, ...] = (7,)) -> list[Visit]:
    return list(itertools.islice(visits(habits, seed), n))


def test_visits_come_in_order_at_the_rate() -> None:
    due_s = [visit.due_s for visit in first(PLAIN, 4000)]
    assert due_s == sorted(due_s)
    assert due_s[-1] == pytest.approx(4000 / 20, rel=0.06)


def test_some_people_come_often_and_others_seldom() -> None:
    counts = Counter(visit.viewer_id for visit in first(PLAIN, 10_000)).most_common()
    assert counts[0][1] / counts[9][1] == pytest.approx(10, rel=0.3)


def test_the_same_people_are_popular_in_every_process_though_each_has_visits_of_its_own() -> None:
    one, other = (first(PLAIN, 3000, (7, place)) for place in (0, 1))
    assert [visit.due_s for visit in one] != [visit.due_s for visit in other]
    most = [Counter(visit.viewer_id for visit in each).most_common(1)[0][0] for each in (one, other)]
    assert most[0] == most[1]


def test_the_same_seed_makes_the_same_visits() -> None:
    assert first(Habits(), 50) == first(Habits(), 50)


@pytest.mark.parametrize(("field", "share"), [("edits", 0.2), ("again", 0.6), ("joins", 0.1)])
def test_shares_of_the_visits_do_what_they_are_told(field: str, share: float) -> None:
    found = first(Habits(edit_share=0.2, again_share=0.6, join_share=0.1), 4000)
    assert np.mean([getattr(visit, field) for visit in found]) == pytest.approx(share, abs=0.03)


def test_who_joins_is_nobody_of_the_people_and_everybody_else_is() -> None:
    for visit in first(Habits(people=100, join_share=0.5), 500):
        assert visit.viewer_id >= NEW_IDS_FROM if visit.joins else 1 <= visit.viewer_id <= 100


def test_a_cold_visit_is_by_anyone_alike() -> None:
    counts = Counter(visit.viewer_id for visit in first(Habits(people=10, join_share=0, cold_share=1), 5000))
    assert [counts[person] / 5000 for person in range(1, 11)] == pytest.approx([0.1] * 10, abs=0.02)


def test_who_is_looked_at_is_liked_by_the_score_and_else_passed() -> None:
    rng = np.random.default_rng(7)
    kinds = Counter(kind for _ in range(4000) for _, kind in decisions([(1, 0.3)], rng))
    assert kinds["like"] / kinds.total() == pytest.approx(0.3, abs=0.03)
    assert kinds["pass"] / kinds.total() == pytest.approx(0.7, abs=0.03)


def test_fewer_look_at_who_stands_further_down() -> None:
    rng, shown = np.random.default_rng(7), [(place, 0.5) for place in range(20)]
    looked = Counter(person for _ in range(5000) for person, _ in decisions(shown, rng))
    assert looked[0] == 5000
    assert [looked[place] / 5000 for place in (1, 9, 19)] == pytest.approx([STAYS**place for place in (1, 9, 19)], abs=0.03)


def test_an_empty_list_is_left_alone() -> None:
    assert decisions([], np.random.default_rng(7)) == []


def test_a_newcomer_is_a_person_whom_the_service_takes() -> None:
    assert msgspec.convert(newcomer(np.random.default_rng(7)), PersonBody).age is not None
