"""What is written down of a pool and of a draw: enough to judge a ranker by that never served."""

import numpy as np
import pytest
from amity_rankers.contract import RankingBatch

from service.domain import Impression, RecommendationRequest, ServedFeatures
from service.features.definitions import FEATURES
from service.recommend.selection import LOTS_KEPT, bits_of, explorable, in_order_of_lots
from tests.fakes import FakeRanker, FakeSource, World, loaded, person

N_PEOPLE = 300


def world(share: float = 0.1, most: int = N_PEOPLE) -> World:
    """Everybody is explorable whom `explore` finds: the people with even ids, at most `most` of them."""

    def even(people: object, query: object) -> object:
        found = people.search("mutual", None, N_PEOPLE)  # type: ignore[attr-defined]
        keep = np.flatnonzero(found.ids % 2 == 0)[:most]
        return type(found)(found.ids[keep], found.scores[keep])

    built = World([person(i) for i in range(1, N_PEOPLE + 1)], explore=FakeSource(even), mutual_taste=FakeSource())
    built.exploration_share = share
    built.orchestrator = built.build()
    return built


async def served(world: World, **asked: object) -> tuple[Impression, ServedFeatures]:
    await world.orchestrator.recommend(RecommendationRequest(viewer_id=1, **asked))  # type: ignore[arg-type]
    return world.impressions.slates[-1], world.impressions.features[0]


def drawn(shown: Impression) -> set[int]:
    people = shown.people
    return {who for who, explores in zip(people.candidate_ids, people.exploration, strict=True) if explores}


def hopefuls(shown: Impression, features: ServedFeatures) -> list[int]:
    rows = [row for bit, row in enumerate(features.explorable) if shown.people.hopefuls >> bit & 1]
    return [features.candidate_ids[row] for row in rows]


async def test_the_first_hundred_and_those_with_the_lowest_lots_are_written_down_once_each() -> None:
    _, features = await served(world())
    assert features.candidate_ids[:100] == tuple(range(300, 200, -1))
    assert len(set(features.candidate_ids)) == len(features.candidate_ids) <= 100 + LOTS_KEPT
    explorables = [features.candidate_ids[row] for row in features.explorable]
    assert len(set(explorables)) == LOTS_KEPT
    assert all(who % 2 == 0 for who in explorables)
    later = tuple(features.candidate_ids[row] for row in features.explorable if row >= 100)
    assert features.candidate_ids[100:] == later != ()


async def test_every_feature_is_written_down_whatever_the_ranker_wanted() -> None:
    _, features = await served(world())
    assert sorted(features.names) == sorted(FEATURES)
    assert features.names[0] == "forward_affinity"
    matrix = np.frombuffer(features.matrix, "<f4").reshape(len(features.candidate_ids), -1)
    assert (matrix == np.array(features.candidate_ids, np.float32)[:, None]).all()  # what FakePeople answers


async def test_whoever_is_drawn_was_one_of_the_hopefuls_and_nobody_of_the_first() -> None:
    shown, features = await served(world())
    could = hopefuls(shown, features)
    assert len(drawn(shown)) == 2
    assert drawn(shown) == set(could[:2])
    assert not set(could) & set(range(281, 301))


async def test_who_cannot_be_shown_any_more_is_no_hopeful() -> None:
    built = world()
    first, features = await served(built)
    gone = hopefuls(first, features)[5]
    second, _ = await served(built, exclude_ids=frozenset({gone}))
    assert set(hopefuls(first, features)) - set(hopefuls(second, features)) == {gone}


async def test_a_slate_that_does_not_explore_has_no_hopefuls() -> None:
    shown, features = await served(world(share=0.0))
    assert shown.people.hopefuls == 0
    assert len(features.explorable) == LOTS_KEPT


async def test_a_pool_of_few_explorables_writes_down_all_of_them() -> None:
    shown, features = await served(world(most=30))
    assert len(features.explorable) == 30
    assert len(hopefuls(shown, features)) == 30 - 10  # ten of them are among the first twenty anyway


async def test_the_same_slate_served_from_memory_says_the_same() -> None:
    built = world()
    first, _ = await served(built)
    request = RecommendationRequest(viewer_id=1)
    assert await built.orchestrator.ready(request) is not None
    assert built.impressions.slates[-1].people.hopefuls == first.people.hopefuls > 0


async def test_without_a_ranking_nothing_is_written_down() -> None:
    built = world()

    def broken(batch: RankingBatch) -> object:
        raise ValueError

    built.rankers = {name: loaded(name, FakeRanker(broken)) for name in ("v1", "heuristic")}
    built.orchestrator = built.build()
    await built.orchestrator.recommend(RecommendationRequest(viewer_id=1))
    assert built.impressions.features == []


def test_every_order_of_the_lowest_lots_is_equally_likely() -> None:
    ids, mask = np.arange(1, 7), np.ones(6, np.bool_)
    seeds = np.random.default_rng(1).integers(2**63, size=3000).tolist()
    firsts = [in_order_of_lots(ids, mask, seed)[0] for seed in seeds]
    assert np.bincount(firsts, minlength=6) == pytest.approx(500, abs=100)


def test_sources_that_explore_are_known_by_name() -> None:
    found_by = np.array([0b001, 0b010, 0b100, 0b110, 0], np.uint64)
    assert explorable(("admirers", "explore", "newcomers"), found_by).tolist() == [False, True, True, True, False]
    assert bits_of(np.array([True, False, True])) == 5
