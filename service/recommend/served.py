"""What is written down of a pool: every feature of those who may be ranked first, and of those who may be drawn to explore."""

from datetime import UTC, datetime
from functools import cache

import numpy as np
from amity_rankers.contract import Ids

from service.domain import ServedFeatures
from service.features.definitions import FEATURES
from service.recommend.pools import Pool
from service.recommend.ports import EligiblePeople
from service.recommend.ranking import Ranked
from service.recommend.selection import explorable, lowest_lots

FIRST = 100
"""Candidates of the top whose features are kept for training: the longest slate there is."""


def served(pool: Pool, ranked: Ranked, best_first: Ids, people: EligiblePeople) -> ServedFeatures | None:
    """The features of the pool's first, and of the explorable with the lowest lots; None where nothing was ranked.

    All features that there are, and not only those that this ranker wanted: another that is judged by the draws wants others.
    With the ranker `v1` a row of 14.7 kB instead of 11.5, and 0.11 ms instead of 0.01 for each pool that is made.
    """
    if ranked.features is None:
        return None
    lots = lowest_lots(pool.id_array(), explorable(pool.source_names, pool.found_by_array()), pool.lot_seed)
    n_first = min(FIRST, len(pool))
    later = lots[lots >= n_first]
    kept = np.concatenate([np.arange(n_first), later])
    rows = lots.copy()
    rows[lots >= n_first] = n_first + np.arange(len(later))
    ids = pool.id_array()[kept]
    further = _further(ranked.names)
    matrix = np.concatenate([ranked.features[best_first[kept]], people.features(ids, further)], axis=1)
    return ServedFeatures(
        pool_id=pool.pool_id,
        computed_at=datetime.fromtimestamp(pool.created_at_s, UTC),
        names=ranked.names + further,
        candidate_ids=tuple(ids.tolist()),
        matrix=np.ascontiguousarray(matrix, "<f4").tobytes(),
        explorable=tuple(rows.tolist()),
    )


@cache
def _further(names: tuple[str, ...]) -> tuple[str, ...]:
    """All the features that a ranker does not want."""
    return tuple(name for name in FEATURES if name not in names)
