"""Newcomers are judged by what they did after their first likes, and by nothing that the model or the fold-in was told."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from service.domain import Profile
from service.repositories.columns import CODES, InteractionTable
from service.training.content import fit_words
from service.training.examples import Mask, Pairs, pairs_of
from service.training.factors import Factors, fold_in
from service.training.learn import Material, Past, past
from service.training.newcomers import folded, judge_newcomers, lists_of, newcomers_of, overlap20
from service.training.scene import Scene, tastes_of
from service.training.split import Split, split_pairs
from service.transfer.demo import DemoRequest, generate

REFERENCE = datetime(2026, 11, 23, tzinfo=UTC)
SEED = 7


def said(*rows: tuple[int, int, bool]) -> Pairs:
    """(actor, target, whether it was a like), one a second."""
    actor, target, positive = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows), np.int64)
    return Pairs(actor, target, positive.astype(bool), nothing.astype(np.int8), nothing, np.arange(len(rows), dtype=np.float64))


def told(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.actor.tolist(), pairs.target.tolist(), strict=True))


def are_new(n_people: int, *rows: int) -> Mask:
    return np.isin(np.arange(n_people), rows)


def test_first_is_what_was_said_until_the_nth_like_and_later_only_likes() -> None:
    hidden = said(
        (0, 5, False), (6, 0, True), (0, 7, True), (0, 8, True), (0, 9, False), (7, 0, True), (0, 6, True), (0, 4, True)
    )
    found = newcomers_of(hidden, are_new(10, 0), n_likes=2)
    assert found.rows.tolist() == [0]
    assert told(found.first) == [(0, 5), (6, 0), (0, 7), (0, 8)]
    assert told(found.later) == [(0, 6), (0, 4)]


def test_who_likes_nobody_after_the_first_is_not_judged() -> None:
    hidden = said((0, 5, True), (1, 5, True), (0, 6, True), (1, 6, False), (2, 6, True), (1, 7, True), (0, 8, True))
    found = newcomers_of(hidden, are_new(9, 0, 1, 2), n_likes=2)
    assert found.rows.tolist() == [0]
    assert told(found.first) == [(0, 5), (0, 6)]


def test_newcomers_tell_nothing_about_one_another() -> None:
    hidden = said((0, 1, True), (1, 0, True), (0, 5, True), (5, 1, True), (0, 6, True), (1, 6, True), (1, 7, True))
    found = newcomers_of(hidden, are_new(8, 0, 1), n_likes=1)
    assert told(found.first) == [(0, 5), (5, 1), (1, 6)]
    assert told(found.later) == [(0, 6), (1, 7)]


def test_likes_of_the_same_second_as_the_nth_are_known_with_it() -> None:
    at_once = said((0, 5, True), (0, 6, True), (0, 7, True))
    at_once.time_s[1] = at_once.time_s[0]
    found = newcomers_of(at_once, are_new(8, 0), n_likes=1)
    assert told(found.first) == [(0, 5), (0, 6)]
    assert told(found.later) == [(0, 7)]


def test_drawn_newcomers_keep_their_own_pairs_only() -> None:
    hidden = said(*((new, other, True) for other in range(50, 53) for new in range(20)))
    drawn = newcomers_of(hidden, are_new(60, *range(20)), n_likes=1).drawn(5, SEED)
    assert len(drawn.rows) == 5
    assert set(drawn.first.actor) == set(drawn.later.actor) == set(drawn.rows)
    assert len(drawn.first) == 5
    assert len(drawn.later) == 10


def test_folding_in_moves_newcomers_as_one_by_one_and_nobody_else() -> None:
    rng = np.random.default_rng(1)
    factors = Factors(*rng.normal(0, 0.4, (2, 9, 8)).astype(np.float32))
    first = said((1, 5, True), (0, 4, True), (0, 6, False), (1, 7, False), (3, 1, True), (8, 1, False), (1, 3, True))
    found = newcomers_of(first, are_new(9, 0, 1), n_likes=1)
    moved, step = folded(factors, found), fold_in(factors)
    assert found.rows.tolist() == [1]
    np.testing.assert_array_equal(moved.p[[0, *range(2, 9)]], factors.p[[0, *range(2, 9)]])
    np.testing.assert_allclose(moved.p[1], step.p(factors.q[[5]], factors.q[[]], factors.p[1]), rtol=1e-5)
    np.testing.assert_array_equal(moved.q, factors.q)  # 3 and 8 came after the first like


def people(n_people: int) -> Sequence[Profile]:
    return [Profile(id=row + 1, name=f"Person {row}", age=30, created_at=REFERENCE) for row in range(n_people)]


def test_lists_leave_out_newcomers_and_whom_they_spoke_of_and_find_the_later_likes() -> None:
    p = q = np.zeros((8, 8), np.float32)
    q = q.copy()
    q[:, 0], p = np.arange(8), np.eye(8, dtype=np.float32)[np.zeros(8, np.int64)]
    words = fit_words(list(people(8)), SEED)
    empty = np.zeros((words.content.shape[1] + 1, 8), np.float32)
    scene = Scene(people(8), said((3, 4, True)), 10.0, tastes_of(Factors(p, q), words.content, words.encoder(empty, empty)))
    found = newcomers_of(said((0, 6, True), (0, 5, True)), are_new(8, 0, 1), n_likes=1)
    lists = lists_of(scene, Factors(p, q), found, ~are_new(8, 0, 1))
    assert lists.first20[0].tolist() == [7, 5, 4, 3, 2]
    assert lists.ndcg20 == pytest.approx(1 / np.log2(3))
    assert overlap20(lists, lists) == 1.0


@pytest.fixture(scope="module")
def world() -> tuple[Past, Split]:
    demo = generate(DemoRequest(n_people=600, seed=11, reference=REFERENCE))
    kinds = np.array([CODES[kind] for kind in demo.kinds], np.int8)
    ids = np.array([person.id for person in demo.people], np.int64)
    table = InteractionTable(demo.actors, demo.targets, kinds, demo.times_s.astype(np.float64))
    material = Material(demo.people, ids, pairs_of(table, ids), REFERENCE.timestamp())
    split = split_pairs(material.pairs, ids, SEED, cold_share=0.3)
    return past(material, fit_words(demo.people, SEED), split, SEED, (50.0,)), split


def test_first_likes_make_the_lists_of_newcomers_better(world: tuple[Past, Split]) -> None:
    before, split = world
    figures = judge_newcomers(before.scene, before.factors, split.cold, split.cold_people, SEED)
    assert figures["n_newcomers"] > 50
    assert figures["newcomer_foldin_ndcg20"] > 1.05 * figures["newcomer_prior_ndcg20"]
    assert figures["newcomer_overlap20"] < 0.95


def test_what_newcomers_like_later_does_not_reach_their_lists(world: tuple[Past, Split]) -> None:
    """With other later likes the same vectors come out."""
    before, split = world
    found = newcomers_of(split.cold, split.cold_people)
    shorter = newcomers_of(split.cold.where(split.cold.time_s < np.quantile(split.cold.time_s, 0.8)), split.cold_people)
    both = np.intersect1d(found.rows, shorter.rows)
    assert 0 < len(both) < len(found.rows)
    np.testing.assert_allclose(folded(before.factors, found).p[both], folded(before.factors, shorter).p[both], atol=1e-5)


def test_without_newcomers_there_are_no_figures(world: tuple[Past, Split]) -> None:
    before, split = world
    nobody = np.zeros(before.scene.n_people, np.bool_)
    assert judge_newcomers(before.scene, before.factors, split.cold, nobody, SEED) == {}
