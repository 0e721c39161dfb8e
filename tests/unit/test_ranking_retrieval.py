"""The sources side by side, and the merging of what they found."""

import threading
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import Found
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Degradation
from service.errors import PluginBroken
from service.plugins import InstalledSource
from service.recommend.ports import Trail
from service.recommend.retrieval import Candidates, Retrieval, chance, merge
from service.recommend.stages import Breakers
from service.resilience import Deadline
from service.threads import ThreadDoor
from tests.fakes import FakePeople, FakeSource

PEOPLE = FakePeople(99, range(1, 31))


def returning(ids: Any) -> FakeSource:
    return FakeSource(lambda people, query: Found(ids, np.zeros(len(ids), np.float32)))


async def find(deadline_s: float = 2.0, **sources: FakeSource) -> tuple[Candidates, list[Degradation]]:
    installed = [InstalledSource(name, source, "fakes", "1") for name, source in sources.items()]
    retrieval = Retrieval(installed, ThreadDoor(8), Breakers(), source_k=10, pool_size=20)
    trail = Trail()
    return await retrieval.find(PEOPLE, 0.0, 1, Deadline(deadline_s), trail), trail.degraded


def names_of(found: Candidates, person_id: int) -> set[str]:
    bits = int(found.found_by[found.ids.tolist().index(person_id)])
    return {name for i, name in enumerate(found.source_names) if bits >> i & 1}


async def test_sources_are_merged_in_turns_with_their_provenance() -> None:
    found, degraded = await find(b=returning([4, 2, 6]), a=returning([1, 2, 3]))
    assert (found.ids.tolist(), degraded) == ([1, 4, 2, 3, 6], [])
    assert (names_of(found, 2), names_of(found, 4)) == ({"a", "b"}, {"b"})


async def test_sources_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=2)

    def meet(people: Any, query: Any) -> Found:
        both.wait()
        return Found(np.array([1]), np.zeros(1, np.float32))

    assert (await find(a=FakeSource(meet), b=FakeSource(meet)))[1] == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (FakeSource(lambda people, query: 1 / 0), "exception"),
        (FakeSource(lambda people, query: None), "exception"),
        (returning(np.array([1.5, 2.5])), "invalid_result"),
        (returning(np.array([[1, 2]])), "invalid_result"),
        (returning(["1", "2"]), "invalid_result"),
    ],
)
async def test_a_source_that_fails_is_named_and_the_others_serve(source: FakeSource, reason: str) -> None:
    found, degraded = await find(bad=source, good=returning([3]))
    assert found.ids.tolist() == [3]
    assert degraded == [Degradation("source:bad", reason, None)]


async def test_a_source_that_hangs_is_left_behind() -> None:
    hang = threading.Event()
    found, degraded = await find(0.1, bad=FakeSource(lambda p, q: hang.wait()), good=returning([3]))
    assert (found.ids.tolist(), degraded) == ([3], [Degradation("source:bad", "timeout", None)])
    hang.set()


async def test_a_source_that_finds_nobody_is_no_failure() -> None:
    found, degraded = await find(a=returning(np.empty(0)), b=returning([]))
    assert (found.ids.tolist(), degraded) == ([], [])


async def test_more_than_was_asked_for_is_cut() -> None:
    found, _ = await find(a=returning(np.arange(1, 31)))
    assert found.ids.tolist() == list(range(1, 11))


def test_chance_draws_the_eligible_and_repeats_itself_for_a_seed() -> None:
    one, same, other = (chance(PEOPLE, seed, 10).ids.tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert len(set(one)) == 10
    assert set(one) <= set(range(1, 31))


def test_more_sources_than_provenance_has_bits_are_refused() -> None:
    many = [InstalledSource(f"s{i}", FakeSource(), "fakes", "1") for i in range(65)]
    with pytest.raises(PluginBroken):
        Retrieval(many, ThreadDoor(1), Breakers(), 10, 20)


lists = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(1, 40), max_size=15).map(lambda ids: np.array(ids, np.int64)), min_size=1
)


@given(lists, st.integers(1, 40))
def test_merging_keeps_each_eligible_find_once_with_all_who_found_it(found: dict[str, Any], size: int) -> None:
    merged = merge(found, PEOPLE, size)
    ids = merged.ids.tolist()
    expected = {int(one) for listed in found.values() for one in listed if one <= 30}
    assert set(ids) <= expected
    assert len(ids) == len(set(ids)) == min(size, len(expected))
    for one in ids:
        assert names_of(merged, one) == {name for name, listed in found.items() if one in listed}


@given(lists, st.integers(1, 40))
def test_merging_does_not_depend_on_who_answered_first(found: dict[str, Any], size: int) -> None:
    one, other = merge(found, PEOPLE, size), merge(dict(reversed(found.items())), PEOPLE, size)
    assert one.ids.tolist() == other.ids.tolist()
    assert (one.found_by.tolist(), one.source_names) == (other.found_by.tolist(), other.source_names)


@given(lists)
def test_no_source_crowds_out_anothers_first(found: dict[str, Any]) -> None:
    firsts = {int(listed[0]) for listed in found.values() if len(listed) and listed[0] <= 30}
    assert firsts <= set(merge(found, PEOPLE, len(found)).ids.tolist())


def test_the_configuration_tells_sources_versions_and_sizes_apart() -> None:
    def words(k: int, *names: str) -> str:
        installed = [InstalledSource(name, FakeSource(), "fakes", "1") for name in names]
        return Retrieval(installed, ThreadDoor(1), Breakers(), k, 20).configuration

    assert words(10, "a", "b") == words(10, "b", "a")
    assert len({words(10, "a"), words(10, "a", "b"), words(11, "a")}) == 3
