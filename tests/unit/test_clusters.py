"""Clusters of people: by place, and by community of who deals with whom."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain_experiments import ClusterMap
from service.experiments.clusters import MOST_SHARE, by_community, by_location, cohesion
from service.experiments.communities import communities, graph_of

Ids = NDArray[np.int64]

DATA = os.environ.get("AMITY_EVAL_DATA", "")


def villages(n_villages: int = 100, n_each: int = 20, stray: float = 0.2, seed: int = 3) -> tuple[Ids, Ids, Ids, Ids]:
    """Ids, not from 0 on, whose likes mostly stay in the village; `stray` go anywhere. With each one's village."""
    rng = np.random.default_rng(seed)
    ids = np.arange(1000, 1000 + n_villages * n_each)
    village = rng.permutation(np.repeat(np.arange(n_villages), n_each))
    members = np.argsort(village, kind="stable").reshape(n_villages, n_each)
    actors = np.repeat(np.arange(len(ids)), 8)
    near = members[village[actors], rng.integers(0, n_each, len(actors))]
    targets = np.where(rng.random(len(actors)) < stray, rng.integers(0, len(ids), len(actors)), near)
    return ids, ids[actors], ids[targets], village


def test_people_of_one_place_are_one_cluster_whatever_its_case_and_blanks() -> None:
    found = by_location([(5, "Oslo"), (2, " oslo "), (9, "Bergen"), (3, "Old  Town"), (4, "old town")])
    of = dict(zip(found.ids.tolist(), found.clusters.tolist(), strict=True))
    assert found.ids.tolist() == [2, 3, 4, 5, 9]
    assert of[2] == of[5]
    assert of[3] == of[4]
    assert len({of[2], of[3], of[9]}) == 3


def test_who_has_no_place_is_in_no_cluster() -> None:
    assert by_location([(1, None), (2, "  "), (3, "Oslo")]).ids.tolist() == [3]
    assert len(by_location([]).ids) == 0


def test_communities_are_those_who_deal_with_one_another() -> None:
    ids, actors, targets, village = villages()
    found = by_community(ids, actors, targets, seed=1)
    same = found.clusters[:, None] == found.clusters[None, :]
    together = village[:, None] == village[None, :]
    assert same[together].mean() > 0.9
    assert same[~together].mean() < 0.01


def test_no_community_has_more_than_its_share_however_all_hang_together() -> None:
    rng = np.random.default_rng(0)
    ids = np.arange(1, 1001)
    actors, targets = rng.choice(ids, 20_000), rng.choice(ids[:30], 20_000)  # everybody likes the same thirty
    sizes = np.bincount(by_community(ids, actors, targets, seed=1).clusters)
    assert sizes.sum() == 1000
    assert sizes.max() <= MOST_SHARE * 1000


@pytest.mark.parametrize("most", [2, 7, 50])
def test_the_bound_holds_whatever_it_is(most: int) -> None:
    ids, actors, targets, _ = villages(n_villages=30)
    found = communities(graph_of(len(ids), actors - 1000, targets - 1000), most, seed=2)
    assert np.bincount(found).max() <= most


def test_the_same_seed_gives_the_same_map_in_whatever_order_interactions_come() -> None:
    ids, actors, targets, _ = villages(stray=0.5)
    order = np.random.default_rng(1).permutation(len(actors))
    one = by_community(ids, actors, targets, seed=7)
    other = by_community(ids[::-1], actors[order], targets[order], seed=7)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.clusters, other.clusters)
    assert not np.array_equal(one.clusters, by_community(ids, actors, targets, seed=8).clusters)


def test_who_has_dealt_with_nobody_known_is_a_cluster_alone() -> None:
    found = by_community(np.array([1, 2, 3, 4, 5, 6]), np.array([1, 2, 3, 9, 5]), np.array([2, 1, 3, 4, 99]), seed=1)
    one, other, *alone = found.clusters.tolist()
    assert one == other
    assert len({one, *alone}) == 5


def test_nobody_at_all_makes_no_cluster() -> None:
    nobody = np.empty(0, np.int64)
    assert len(by_community(nobody, nobody, nobody, seed=1).clusters) == 0
    worth = cohesion(ClusterMap(nobody, nobody.astype(np.int32)), nobody, nobody)
    assert (worth.people, worth.clusters, worth.within, worth.by_chance) == (0, 0, None, None)


def test_cohesion_counts_likes_within_against_likes_at_random() -> None:
    clusters = ClusterMap(np.array([1, 2, 3, 4]), np.array([0, 0, 1, 1], np.int32))
    worth = cohesion(clusters, np.array([1, 2, 3, 1]), np.array([2, 1, 4, 4]))
    assert (worth.within, worth.effective, worth.largest_share) == (0.75, 2.0, 0.5)
    assert worth.by_chance == (3 * 2 + 1 * 2) / 16


def test_cohesion_of_likes_at_random_is_what_chance_makes() -> None:
    rng = np.random.default_rng(5)
    ids = np.arange(2000)
    clusters = ClusterMap(ids, (ids % 20).astype(np.int32))
    worth = cohesion(clusters, rng.choice(ids, 100_000), rng.choice(ids[:900], 100_000))
    assert worth.within == pytest.approx(worth.by_chance, rel=0.05)


@pytest.mark.skipif(not DATA, reason="AMITY_EVAL_DATA does not name the folder of the real data sets")
def test_real_messages_stay_within_communities_ten_times_as_often_as_by_chance() -> None:
    messages = np.loadtxt(Path(DATA) / "college_msg" / "CollegeMsg.txt", np.int64, usecols=(0, 1))
    pairs = np.unique(messages, axis=0)
    found = by_community(np.unique(pairs), pairs[:, 0], pairs[:, 1], seed=1)
    worth = cohesion(found, pairs[:, 0], pairs[:, 1])
    assert worth.within is not None
    assert worth.by_chance is not None
    assert worth.within > 0.15
    assert worth.within > 10 * worth.by_chance
    assert worth.effective > 100
