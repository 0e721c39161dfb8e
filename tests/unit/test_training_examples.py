"""From interactions to pairs, and from pairs to what is learnt from and judged by."""

import struct
from itertools import pairwise

import numpy as np
import pytest
import xxhash

from service.domain import Kind
from service.features.assemble import assemble
from service.population.build import StandingPairs, build
from service.population.standing import LIKED, PASSED
from service.population.tastes import Tastes
from service.repositories.columns import CODES, InteractionTable
from service.training.examples import Pairs, answered, pairs_of
from service.training.rankers import Looks, liked_before
from service.training.scene import Scene
from service.training.split import GATE_ONE_IN, Split, gate_mask, join, split_pairs
from tests.population_people import person

IDS = np.arange(10, 30)


def table(*rows: tuple[int, int, Kind, float]) -> InteractionTable:
    actor, target, kind, time_s = zip(*rows, strict=True) if rows else ((), (), (), ())
    codes = [CODES[one] for one in kind]
    return InteractionTable(
        np.array(actor, np.int64), np.array(target, np.int64), np.array(codes, np.int8), np.array(time_s, np.float64)
    )


def random_pairs(n_people: int, n_pairs: int, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    key = rng.choice(n_people * n_people, n_pairs, replace=False)
    key = key[key // n_people != key % n_people]
    positive = rng.random(len(key)) < 0.4
    opinion = np.where(positive, LIKED, PASSED).astype(np.int8)
    time_s = np.sort(rng.random(len(key)) * 1e6)
    return Pairs(key // n_people, key % n_people, positive, opinion, np.zeros(len(key), np.int64), time_s)


@pytest.mark.parametrize(
    ("kinds", "positive", "opinion"),
    [
        ([Kind.LIKE], True, LIKED),
        ([Kind.MESSAGE], True, 0),
        ([Kind.PASS], False, PASSED),
        ([Kind.UNMATCH], False, PASSED),
        ([Kind.BLOCK], False, 0),
        ([Kind.LIKE, Kind.MESSAGE], True, LIKED),
        ([Kind.LIKE, Kind.BLOCK], False, LIKED),
        ([Kind.MESSAGE, Kind.PASS], False, PASSED),
        ([Kind.LIKE, Kind.VIEW], True, LIKED),
    ],
)
def test_outcome_of_a_pair(kinds: list[Kind], positive: bool, opinion: int) -> None:
    pairs = pairs_of(table(*((10, 12, kind, 5.0) for kind in kinds)), IDS)
    assert (pairs.actor.tolist(), pairs.target.tolist()) == ([0], [2])
    assert (pairs.positive.tolist(), pairs.opinion.tolist()) == ([positive], [opinion])


@pytest.mark.parametrize("kind", [Kind.VIEW, Kind.UNLIKE, Kind.UNPASS, Kind.UNBLOCK])
def test_views_and_withdrawals_say_nothing(kind: Kind) -> None:
    assert len(pairs_of(table((10, 12, kind, 5.0)), IDS)) == 0


def test_time_is_that_of_the_first_word_in_the_sense_that_stands() -> None:
    rows = [(10, 12, Kind.MESSAGE, 1.0), (10, 12, Kind.BLOCK, 9.0), (10, 11, Kind.MESSAGE, 4.0), (10, 11, Kind.MESSAGE, 3.0)]
    pairs = pairs_of(table(*rows), IDS)
    assert pairs.time_s.tolist() == [3.0, 9.0]
    assert pairs.n_messages.tolist() == [2, 1]


def test_counts_in_training_are_those_of_the_population_that_serves() -> None:
    rng = np.random.default_rng(1)
    pairs = [(a, b) for a in range(10, 16) for b in range(10, 16) if a != b]
    opinions = [(*pair, rng.choice([Kind.LIKE, Kind.PASS, Kind.UNMATCH, Kind.UNLIKE, Kind.BLOCK]), 1.0) for pair in pairs[::2]]
    messages = [(*pairs[index], Kind.MESSAGE, 2.0) for index in rng.choice(len(pairs), 20)]
    events = table(*opinions, *messages)
    people = [person(one) for one in range(10, 16)]
    online = build(people, StandingPairs.of_table(events))
    nothing = Tastes.of(np.zeros((6, 8), np.float32), np.zeros((6, 8), np.float32), None)
    known = pairs_of(events, online.ids())
    offline = Scene(people, known, 3.0, nothing)
    names = ("candidate_log_likes_received", "candidate_log_likes_given", "candidate_like_rate_received")
    columns = online.candidate_columns(online.ids(), ())
    expected = assemble(online.viewer_view(people[0], 3.0), columns, names)
    np.testing.assert_array_equal(offline.features(0, np.arange(6), np.zeros(6, bool), names), expected)
    assert expected[:, 0].any()


def test_unknown_people_are_left_out() -> None:
    assert len(pairs_of(table((10, 999, Kind.LIKE, 1.0), (1, 10, Kind.LIKE, 1.0)), IDS)) == 0
    assert len(pairs_of(table((1, 2, Kind.LIKE, 1.0)), np.zeros(0, np.int64))) == 0


def test_match_takes_two_likes() -> None:
    rows = [(10, 11, Kind.LIKE, 1.0), (11, 10, Kind.LIKE, 2.0), (10, 12, Kind.LIKE, 3.0), (12, 10, Kind.PASS, 4.0)]
    pairs = pairs_of(table(*rows), IDS)
    assert answered(pairs, pairs, len(IDS)).tolist() == [True, True, False, False]


def test_like_counts_as_known_only_once_it_was_given() -> None:
    pairs = pairs_of(table((10, 11, Kind.LIKE, 5.0), (12, 11, Kind.MESSAGE, 1.0)), IDS)
    viewer, candidate = np.array([1, 1, 1]), np.array([0, 0, 2])
    looks = Looks(viewer, candidate, np.zeros(3, bool), np.array([4.0, 6.0, 6.0]))
    assert liked_before(looks, pairs, len(IDS)).tolist() == [False, True, False]


def test_gate_is_alike_for_both_directions_and_takes_one_in_twenty() -> None:
    ids = np.arange(1, 401) * 7
    pairs = random_pairs(400, 40_000)
    mirrored = Pairs(pairs.target, pairs.actor, pairs.positive, pairs.opinion, pairs.n_messages, pairs.time_s)
    held = gate_mask(pairs, ids)
    np.testing.assert_array_equal(held, gate_mask(mirrored, ids))
    assert held.mean() == pytest.approx(1 / GATE_ONE_IN, rel=0.1)


def test_gate_is_the_hash_of_both_ids_in_little_endian() -> None:
    """Written out anew: a bundle of another release must have kept the same pairs apart."""
    pairs = random_pairs(60, 3_000)
    ids = np.arange(1, 61) * 1_000_003
    people = [sorted((int(ids[a]), int(ids[b]))) for a, b in zip(pairs.actor, pairs.target, strict=True)]
    expected = [xxhash.xxh64(struct.pack("<qq", low, high)).intdigest() % 20 == 0 for low, high in people]
    assert gate_mask(pairs, ids).tolist() == expected


@pytest.fixture(scope="module")
def split() -> Split:
    return split_pairs(random_pairs(100, 5_000), np.arange(1, 101), seed=3)


def test_parts_follow_one_another_in_time(split: Split) -> None:
    parts = (split.factors, split.fit, split.calibration, split.test)
    for earlier, later in pairwise(parts):
        assert earlier.time_s.max() <= later.time_s.min()
    sizes = np.array([len(part) for part in parts])
    np.testing.assert_allclose(sizes / sizes.sum(), [0.8, 0.1, 0.05, 0.05], atol=0.001)


def test_every_pair_is_in_exactly_one_part(split: Split) -> None:
    whole = join(split.factors, split.fit, split.calibration, split.test, split.cold, split.gate)
    np.testing.assert_array_equal(np.sort(whole.keys(100)), np.sort(random_pairs(100, 5_000).keys(100)))


def test_cold_people_are_in_no_part_that_is_learnt_from(split: Split) -> None:
    assert split.cold_people.sum() == 10
    for part in (split.factors, split.fit, split.calibration, split.test):
        assert not split.cold_people[part.actor].any()
        assert not split.cold_people[part.target].any()
