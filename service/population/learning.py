"""What somebody's taste is by what was said since the bundle was trained: one's stored vectors, moved by new likes and passes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.domain import Relations
from service.population.foldin import MOST_OPINIONS
from service.population.relations import LIKED, PASSED, Side
from service.population.tastes import Floats, Tastes

if TYPE_CHECKING:
    from service.population.population import Population


class Learnt:
    """The opinions that a bundle was trained on, by rank of id. Nothing of them holds for who came back under an erased id."""

    def __init__(self, given: Side, received: Side) -> None:
        self._given = given
        self._received = received
        self.reborn: set[int] = set()

    def since(self, relations: Relations, rank: int | None) -> Relations:
        """Those of `relations` that are news; all of them for somebody whom the bundle does not know (None)."""
        if rank is None:
            return relations
        given, received = self._given.of(rank), self._received.of(rank)
        return Relations(
            liked=relations.liked.difference(_bearing(given, LIKED)),
            passed=relations.passed.difference(_bearing(given, PASSED)),
            liked_by=relations.liked_by.difference(_bearing(received, LIKED)),
            passed_by=relations.passed_by.difference(_bearing(received, PASSED)),
        )


def taste(population: "Population", tastes: Tastes, person_id: int, content: Floats, relations: Relations) -> Floats | None:
    """The `mutual` item of a person by these relations, float32 (2f,): the trained one, or what the profile lets expect of who
    has none, moved by the opinions given and received since. None where neither is to be had.

    Old opinions do not count twice: NDCG@20 of later likes .308 so, .305 by all opinions from the profile's prior, .290 unmoved
    (the demo population; on CollegeMsg .051, .047, .035).
    """
    rank = None if person_id in population.learnt.reborn else population.directory.rank(person_id)
    if rank is not None:
        prior = tastes.spaces["mutual"].get(int(population.directory.base_rows[rank]))
    else:
        prior = tastes.predicted(content)
    since = population.learnt.since(relations, rank)
    if prior is None or tastes.fold_in is None:
        return prior
    p, q = tastes.p(prior), tastes.q(prior)
    if since.liked or since.passed:
        liked, passed = _items(population, tastes, since.liked), _items(population, tastes, since.passed)
        p = tastes.fold_in.p(tastes.q(liked), tastes.q(passed), p)
    if since.liked_by or since.passed_by:
        liked_by, passed_by = _items(population, tastes, since.liked_by), _items(population, tastes, since.passed_by)
        q = tastes.fold_in.q(tastes.p(liked_by), tastes.p(passed_by), q)
    return np.concatenate((q, p))


def _bearing(opinions: tuple[NDArray[np.int64], NDArray[np.int8]], kind: int) -> Iterable[int]:
    ids, kinds = opinions
    found: list[int] = np.asarray(ids)[np.asarray(kinds) == kind].tolist()
    return found


def _items(population: "Population", tastes: Tastes, ids: frozenset[int]) -> Floats:
    """Vectors of those who have one, in the order of ids, so that sums are the same on every replica."""
    rows = population.rows(np.array(sorted(ids)[-MOST_OPINIONS:], np.int64))
    found = tastes.spaces["mutual"].gather(rows[rows >= 0])
    return found[~np.isnan(found[:, 0])]
