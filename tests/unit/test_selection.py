"""The order of candidates and the slate taken from it."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.recommend.pools import Pool, decode, encode
from service.recommend.selection import LOTS_KEPT, among, in_order_of_lots, lots_of, order, select

scores_ = st.lists(st.sampled_from([0.1, 0.5, 0.9, np.nan, np.inf]), min_size=1, max_size=30)


def test_the_best_come_first_ties_by_id_and_what_is_no_number_last() -> None:
    ids = np.array([5, 4, 3, 2, 1])
    scores = np.array([0.5, np.nan, 0.9, 0.5, np.inf], np.float32)
    assert ids[order(ids, scores)].tolist() == [3, 2, 5, 1, 4]


@given(st.lists(st.floats(width=32), max_size=40), st.randoms(use_true_random=False))
def test_the_order_is_by_score_then_id_whether_or_not_any_two_are_alike(scores: list[float], random: object) -> None:
    ids = np.array(random.sample(range(1, 10**6), len(scores)), np.int64)  # type: ignore[attr-defined]
    falling = [-score if np.isfinite(score) else np.inf for score in scores]
    expected = sorted(range(len(scores)), key=lambda at: (falling[at], ids[at]))
    assert order(ids, np.array(scores, np.float32)).tolist() == expected


@given(scores_, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_candidates_came(scores: list[float], random: object) -> None:
    ids, values = np.arange(1, len(scores) + 1), np.array(scores, np.float32)
    shuffled = np.array(sorted(range(len(scores)), key=lambda _: random.random()))  # type: ignore[attr-defined]
    assert (ids[order(ids, values)] == ids[shuffled][order(ids[shuffled], values[shuffled])]).all()


def chosen(n: int, limit: int, share: float, explorable: list[int], seed: int = 0) -> list[tuple[int, str]]:
    by_lots = in_order_of_lots(np.arange(n) + 1, np.isin(np.arange(n), explorable), seed)
    return [(place.index, place.slot) for place in select(np.arange(n), by_lots, limit, share)]


def test_without_exploration_the_first_are_shown() -> None:
    assert chosen(10, 3, 0.0, list(range(10))) == [(0, "ranked"), (1, "ranked"), (2, "ranked")]


def test_a_share_of_the_positions_explores_and_stands_last_in_the_order_of_scores() -> None:
    slots = chosen(100, 20, 0.1, list(range(100)))
    assert [index for index, slot in slots if slot == "ranked"] == list(range(18))
    explored = [index for index, slot in slots[18:] if slot == "exploration"]
    assert len(explored) == 2
    assert 20 <= explored[0] < explored[1]


def test_a_part_of_a_position_explores_nothing() -> None:
    assert [slot for _, slot in chosen(100, 20, 0.14, list(range(100)))].count("exploration") == 2


def test_nobody_is_pushed_out_when_everyone_fits() -> None:
    assert chosen(20, 20, 0.5, list(range(20))) == [(index, "ranked") for index in range(20)]


def test_where_few_can_explore_the_ranked_fill_the_slate() -> None:
    slots = chosen(50, 20, 0.5, [30])
    assert [slot for _, slot in slots].count("exploration") == 1
    assert [index for index, _ in slots] == [*range(19), 30]


def test_the_same_seed_draws_the_same_and_others_draw_others() -> None:
    draws = {tuple(chosen(200, 20, 0.1, list(range(200)), seed)) for seed in range(20)}
    assert chosen(200, 20, 0.1, list(range(200)), 3) in map(list, draws)
    assert len(draws) > 10


def test_a_lot_is_the_person_s_wherever_they_stand() -> None:
    ids, may = np.arange(1, 101), np.arange(1, 101) % 3 > 0
    shuffled = np.random.default_rng(1).permutation(100)
    assert (ids[in_order_of_lots(ids, may, 5)] == ids[shuffled][in_order_of_lots(ids[shuffled], may[shuffled], 5)]).all()


def pool(number: int) -> Pool:
    """Of 100 people, of whom `explore` found those with odd ids."""
    ids = np.arange(1, 101)
    return Pool(
        pool_id=UUID(int=number),
        algorithm_version="v1",
        bundle_version=None,
        source_names=("mutual_taste", "explore"),
        ids=ids.astype("<i8").tobytes(),
        scores=np.linspace(1, 0, 100).astype("<f4").tobytes(),
        found_by=np.where(ids % 2, 3, 1).astype("<u8").tobytes(),
        viewer_digest=1,
        opinions=1,
        generations=("a", "b"),
        created_at_s=0.0,
    )


def test_the_lots_of_a_pool_are_the_same_on_every_replica_and_others_than_of_another_pool() -> None:
    mine = lots_of(pool(7))
    theirs = decode(encode(pool(7)))
    assert theirs is not None
    assert lots_of(theirs).tolist() == mine.tolist() != lots_of(pool(8)).tolist()
    assert sorted(mine.tolist()) == list(range(0, 100, 2))


def test_the_hopefuls_are_those_of_the_lowest_lots_kept_who_are_left_and_not_among_the_first() -> None:
    by_lots = np.random.default_rng(1).permutation(60)
    left = np.setdiff1d(np.arange(60), by_lots[3])
    hopefuls = [bit for bit, place in enumerate(by_lots.tolist()) if bit < LOTS_KEPT and place > left[19] and bit != 3]
    assert among(left, by_lots, 20) == sum(1 << bit for bit in hopefuls)
    assert LOTS_KEPT - 1 in hopefuls


def test_somebody_who_drops_out_moves_nobody_else_out_of_the_draw() -> None:
    everybody, by_lots = np.arange(100), in_order_of_lots(np.arange(1, 101), np.ones(100, bool), 9)
    before = {place.index for place in select(everybody, by_lots, 20, 0.2) if place.slot == "exploration"}
    gone = min(before)
    places = select(everybody[everybody != gone], by_lots, 20, 0.2)
    assert before - {gone} <= {place.index for place in places if place.slot == "exploration"}


def test_the_propensity_is_how_often_somebody_is_drawn() -> None:
    drawn = (in_order_of_lots(np.arange(1, 41), np.ones(40, bool), seed) for seed in range(2000))
    places = [place for by_lots in drawn for place in select(np.arange(40), by_lots, 20, 0.2)]
    explored = [place for place in places if place.slot == "exploration"]
    assert {place.propensity for place in explored} == {4 / 20}
    assert sum(place.index == 33 for place in explored) / 2000 == pytest.approx(0.2, abs=0.03)
    assert {place.propensity for place in places if place.slot == "ranked"} == {1.0}


@given(st.integers(0, 60), st.integers(1, 30), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 99))
def test_a_slate_holds_as_many_different_people_as_it_can(n: int, limit: int, share: float, seed: int) -> None:
    indexes = [index for index, _ in chosen(n, limit, share, list(range(0, n, 2)), seed)]
    assert len(indexes) == len(set(indexes)) == min(n, limit)
    assert indexes == sorted(indexes)
