"""The mask for everyone at once decides as the rule for one pair does: by bitmaps, by columns, and in a population."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.domain import Filters, Profile, RecommendationRequest, Relations, Status
from service.features.geography import distance_km, squared_chord_of_km, unit_vectors
from service.population.bits import pack, unpack
from service.population.build import build
from service.population.mask import BaseMask, eligible_rows
from service.population.table import Table
from service.population.vocabulary import SeekVocabulary, Vocabularies, Vocabulary
from service.recommend.eligibility import ineligible_reason
from tests.population_people import NOW, asking, crowds, filters, person, profiles

laws = settings(max_examples=300, deadline=None, database=None)
NOW_S = NOW.timestamp()
Arrays = dict[str, NDArray[Any]]


def reasons(people: list[Profile], relations: Relations, request: RecommendationRequest) -> dict[int, str | None]:
    return {one.id: ineligible_reason(people[0], one, relations, request, NOW) for one in people}


def agree(found: set[int], expected: dict[int, str | None]) -> None:
    assert found == {person_id for person_id, reason in expected.items() if reason is None}, expected


def columns_of(people: list[Profile], words: Vocabularies) -> Arrays:
    table = Table.of(people, words)
    return table.values | {"interest_starts": table.interests.starts, "interests": table.interests.codes}


def random_words() -> Vocabularies:
    sought = [(), ("woman",), ("man",), ("man", "strasse")]
    return Vocabularies(("woman", "man", "strasse"), ("paris", "lyon"), ("hiking", "go", "日本"), sought)


@st.composite
def random_columns(draw: st.DrawFn) -> Arrays:
    """Up to a few blocks of people around few places, ordered by place or not, with values unknown here and there."""
    rng, n = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(0, 1500))
    centres = np.array([(np.nan, 0.0), (45.76, 4.83), (48.85, 2.35), (-48.85, -177.65), (90.0, 0.0)])
    at = np.sort(rng.integers(0, len(centres), n))
    degrees = (centres[at] + rng.normal(0, 0.05, (n, 2)))[rng.permutation(n) if draw(st.booleans()) else slice(None)]
    age = rng.choice([18, 20, 22, 24, np.nan], n) if draw(st.booleans()) else rng.uniform(17, 25, n)
    max_km = rng.choice([1.0, 7.5, 30.0, np.inf], n) if draw(st.booleans()) else rng.uniform(0, 700, n)
    starts = np.concatenate(([0], np.cumsum(rng.integers(0, 3, n))))
    found: Arrays = {
        "id": np.arange(n),
        "age": age.astype(np.float32),
        "gender": rng.integers(draw(st.sampled_from([-1, 0])), 3, n).astype(np.int32),
        "location": rng.integers(-1, 2, n).astype(np.int32),
        "place": unit_vectors(np.clip(degrees[:, 0], -90, 90), degrees[:, 1]),
        "seeks_max_chord": np.asarray(squared_chord_of_km(max_km), np.float64),
        "seeks_genders": rng.integers(0, 4, n).astype(np.int32),
        "seeks_min_age": rng.choice([-np.inf, 18, 20, 22], n).astype(np.float32),
        "seeks_max_age": rng.choice([np.inf, 20, 22, 24], n).astype(np.float32),
        "last_active_at_s": rng.choice([np.nan, NOW_S, NOW_S - 86_400, NOW_S - 1e7], n),
        "interest_starts": starts,
        "interests": rng.integers(0, 3, starts[-1]).astype(np.int32),
    }
    return found


@laws
@given(
    columns=random_columns(),
    viewers=st.lists(profiles(1), min_size=2, max_size=4),
    filters=filters,
    share=st.sampled_from([0.004, 0.5, 1.0]),
)
def test_bitmaps_decide_as_columns_do(columns: Arrays, viewers: list[Profile], filters: Filters, share: float) -> None:
    words, n = random_words(), len(columns["id"])
    shown = np.random.default_rng(0).random(n) < share
    base = BaseMask(columns, words)
    base.eligible(viewers[0], filters, NOW_S, pack(shown))
    words.seeks.add(("new", "woman"))  # texts that came later are those of nobody here
    words.interests.add("chess")
    for viewer in (*viewers, viewers[0]):
        found = base.eligible(viewer, filters, NOW_S, pack(shown))
        assert found.tolist() == pack(shown & eligible_rows(columns, words, viewer, filters, NOW_S)).tolist()


def test_genders_added_while_it_is_asked_which_are_accepted_break_nothing() -> None:
    class Growing(Vocabulary):
        def __len__(self) -> int:
            n = super().__len__()
            for gender in ("fox", "owl"):
                self._codes.setdefault(gender, len(self._codes))
            return n

    assert SeekVocabulary(Growing(("woman",))).acceptance(("woman", "fox", "owl")).tolist() == [True, True]


@laws
@given(people=crowds(), filters=filters)
def test_bitmaps_and_columns_are_the_rule_for_one_pair(people: list[Profile], filters: Filters) -> None:
    words = Vocabularies()
    columns = columns_of(people[1:], words)
    expected = reasons(people, Relations(), RecommendationRequest(viewer_id=1, filters=filters))
    expected.pop(1)
    by_columns = columns["active"] & eligible_rows(columns, words, people[0], filters, NOW_S)
    by_bits = BaseMask(columns, words).eligible(people[0], filters, NOW_S, pack(columns["active"]))
    for mask in (by_columns, unpack(by_bits, len(people) - 1)):
        agree(set(columns["id"][mask].tolist()), expected)


def test_activity_is_read_when_asked() -> None:
    columns = columns_of([person(2, last_active_at=NOW - timedelta(days=9)), person(3)], Vocabularies())
    base, recent = BaseMask(columns, Vocabularies()), Filters(active_within_days=1)
    shown = pack(columns["active"])
    assert unpack(base.eligible(person(1), recent, NOW_S, shown), 2).tolist() == [False, False]
    columns["last_active_at_s"][1] = NOW_S
    assert unpack(base.eligible(person(1), recent, NOW_S, shown), 2).tolist() == [False, True]


@pytest.mark.parametrize("n_shown", [1, 100])
def test_activity_exactly_at_the_limit_counts_among_few_as_among_many(n_shown: int) -> None:
    columns = columns_of([person(2 + at, last_active_at=NOW - timedelta(days=1)) for at in range(100)], Vocabularies())
    shown = np.arange(100) < n_shown
    found = BaseMask(columns, Vocabularies()).eligible(person(1), Filters(active_within_days=1), NOW_S, pack(shown))
    assert unpack(found, 100).tolist() == shown.tolist()


def test_who_is_not_shown_stays_out_and_what_was_given_is_not_written_to() -> None:
    columns = columns_of([person(2), person(3, status=Status.PAUSED), person(4, gender="man")], Vocabularies())
    shown = pack(columns["active"])
    viewer = person(1, seeks_genders=("woman",))
    found = BaseMask(columns, Vocabularies(("man",))).eligible(viewer, Filters(), NOW_S, shown)
    assert unpack(found, 3).tolist() == [True, False, False]
    assert unpack(shown, 3).tolist() == [True, False, True]


@laws
@given(people=crowds(), filters=filters, n_late=st.integers(0, 6))
def test_population_is_the_rule_for_one_pair(people: list[Profile], filters: Filters, n_late: int) -> None:
    population = build(people[n_late:])
    population.apply_profiles(people[:n_late])
    view = population.eligible(asking(people[0], filters=filters))
    agree(set(view.eligible_ids().tolist()), reasons(people, Relations(), RecommendationRequest(viewer_id=1, filters=filters)))


@laws
@given(before=crowds(), after=crowds(), filters=filters)
def test_changed_people_are_judged_by_what_they_are_now(before: list[Profile], after: list[Profile], filters: Filters) -> None:
    population = build(before)
    population.apply_profiles(after)
    view = population.eligible(asking(after[0], filters=filters))
    agree(set(view.eligible_ids().tolist()), reasons(after, Relations(), RecommendationRequest(viewer_id=1, filters=filters)))


groups = st.frozensets(st.integers(1, 6), max_size=3)


@laws
@given(people=crowds(), relations=st.builds(Relations, *[groups] * 5), seen=st.booleans(), out=groups)
def test_view_leaves_out_what_relations_forbid(
    people: list[Profile], relations: Relations, seen: bool, out: frozenset[int]
) -> None:
    view = build(people).eligible(asking(people[0], relations, exclude_seen=seen, without=out))
    request = RecommendationRequest(viewer_id=1, exclude_seen=seen, exclude_ids=out)
    agree(set(view.eligible_ids().tolist()), reasons(people, relations, request))
    assert view.n_eligible == len(view.eligible_ids())


@pytest.mark.parametrize("km", [0.5, 25.0, 20_000.0])
def test_distance_limit_is_met_to_the_metre(km: float) -> None:
    here, there = person(1, latitude=0.0, longitude=0.0), person(2, latitude=0.0, longitude=km / 111.19508023353292)
    assert distance_km(0, 0, 0, there.longitude or 0) == pytest.approx(km, abs=1e-6)
    population = build([here, there])
    views = [population.eligible(asking(here, filters=Filters(max_km=km + step))) for step in (-0.001, 0.001)]
    assert [view.n_eligible for view in views] == [0, 1]


def test_nobody_is_within_kilometres_of_an_unknown_place() -> None:
    population = build([person(1), person(2, latitude=1.0, longitude=1.0)])
    assert population.eligible(asking(person(1), filters=Filters(max_km=20_000.0))).n_eligible == 0


def test_gender_that_nobody_has_yet_is_accepted_by_those_who_seek_anyone_only() -> None:
    population = build([person(2), person(3, seeks_genders=("man",))])
    assert population.eligible(asking(person(1, gender="new"))).eligible_ids().tolist() == [2]


def test_words_of_newcomers_are_found_by_filters() -> None:
    population = build([person(1)])
    population.apply_profiles([person(2, gender="Zx", location="Ulm", interests=("Knots",))])
    wanted: list[dict[str, Any]] = [{"genders": ("zx",)}, {"locations": ("ulm",)}, {"interests": ("knots", "other")}]
    for given_filter in wanted:
        assert population.eligible(asking(person(1), filters=Filters(**given_filter))).eligible_ids().tolist() == [2]


def test_last_active_exactly_at_the_limit_still_counts() -> None:
    population = build([person(2, last_active_at=NOW - timedelta(days=3))])
    views = [population.eligible(asking(person(1), filters=Filters(active_within_days=days))) for days in (2, 3)]
    assert [view.n_eligible for view in views] == [0, 1]
