"""Masks that are made in a thread, while the event loop goes on changing everyone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.domain import Filters, Relations
from service.population import population as rooms
from service.population.build import build
from service.population.view import PeopleView
from tests.population_people import asking, person, tastes


@pytest.fixture(autouse=True)
def _in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MASK_AT_ONCE", 0)


def people(n: int = 40) -> rooms.Population:
    everyone = [person(one, bio=f"w{one}", gender="x", interests=(f"i{one % 5}",)) for one in range(1, n + 1)]
    return build(everyone, tastes=tastes(everyone))


def test_a_view_of_many_is_not_prepared_until_it_is_asked_to_be() -> None:
    view = people().eligible(asking(person(1)))
    assert not view.is_prepared
    view.prepare()
    assert view.is_prepared
    assert view.n_eligible == 39


def test_whoever_asks_first_prepares_for_all() -> None:
    view = people().eligible(asking(person(1)))
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: view.n_eligible, range(32)))
    assert set(counts) == {39}


def changed_before_prepared(filters: Filters, relations: Relations) -> PeopleView:
    """A view that is prepared after people were changed: with new words, twice, and among them one who is hidden."""
    population = people()
    population.apply_profiles([person(3, bio="a", interests=("i1",)), person(90, interests=("i2",))])
    view = population.eligible(asking(person(1, seeks_genders=("x",)), relations, filters=filters))
    edits = [person(one, bio="b", gender="y", interests=("new", "i1"), seeks_genders=("z",)) for one in (1, 2, 3, 90)]
    for _ in range(200):
        population.apply_profiles(edits)
        edits = [person(one.id, bio=one.bio + "b", interests=(*one.interests, f"n{len(one.bio)}")) for one in edits]
    view.prepare()
    return view


def test_changes_in_between_break_no_mask() -> None:
    for filters in (Filters(), Filters(interests=("i1", "new")), Filters(genders=("x", "y"))):
        assert changed_before_prepared(filters, Relations()).n_eligible <= 40


def test_who_is_hidden_stays_hidden_though_they_changed_in_between() -> None:
    view = changed_before_prepared(Filters(), Relations(blocked=frozenset({2, 3})))
    assert not np.isin([1, 2, 3], view.eligible_ids()).any()
    found = view.search("mutual", np.ones(8, np.float32), 50)
    assert not np.isin([1, 2, 3], found.ids).any()
