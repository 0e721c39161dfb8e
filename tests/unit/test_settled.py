"""Whom memory may show without a look at the database, and of whom it may not."""

import pytest

from service.recommend.drops import Drops
from service.recommend.settled import Settled
from tests.fakes import FakePopulation, person

PEOPLE = {one: person(one) for one in (1, 2, 3)}


@pytest.fixture
def drops() -> Drops:
    return Drops()


@pytest.fixture
def memory() -> FakePopulation:
    return FakePopulation(PEOPLE.values())


@pytest.fixture
def settled(drops: Drops, memory: FakePopulation) -> Settled:
    made = Settled(drops)
    made.caught_up(memory, drops.now)
    return made


def test_everybody_is_settled_once_the_feed_has_caught_up(drops: Drops, memory: FakePopulation) -> None:
    settled = Settled(drops)
    assert settled.of([1, 2], memory) == {}
    settled.caught_up(memory, drops.now)
    assert settled.of([1, 2, 9], memory) == {1: PEOPLE[1], 2: PEOPLE[2]}


def test_of_whom_something_is_told_is_settled_when_the_feed_has_caught_up_from_then_on(
    drops: Drops, memory: FakePopulation, settled: Settled
) -> None:
    before = drops.now
    drops.drop([2])
    assert settled.of([1, 2, 3], memory).keys() == {1, 3}
    settled.caught_up(memory, before)
    assert settled.of([1, 2, 3], memory).keys() == {1, 3}
    settled.caught_up(memory, drops.now)
    assert settled.of([1, 2, 3], memory).keys() == {1, 2, 3}


def test_nobody_is_settled_when_news_may_have_been_missed(drops: Drops, memory: FakePopulation, settled: Settled) -> None:
    drops.drop_all()
    assert settled.of([1, 2, 3], memory) == {}


def test_of_another_population_nobody_is_settled(settled: Settled) -> None:
    assert settled.of([1, 2, 3], FakePopulation(PEOPLE.values())) == {}


def test_a_population_that_nobody_uses_any_more_is_let_go() -> None:
    settled = Settled(Drops())
    settled.caught_up(FakePopulation(PEOPLE.values()), 0)
    assert settled.of([1], FakePopulation(PEOPLE.values())) == {}
