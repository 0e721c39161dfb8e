"""What is written down of a pool: every feature of those who may be ranked first, and of those who may be drawn to explore."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import numpy as np
from amity_rankers.contract import Ids

from service.domain import ServedFeatures
from service.features.definitions import FEATURES
from service.recommend.pools import Pool
from service.recommend.ranking import Ranked, RankingTask
from service.recommend.selection import LOTS_KEPT, lots_of

Serving = Callable[[], ServedFeatures | None]
"""Writes down what was served of one pool: .2 ms, which nobody has to wait for."""

FIRST = 100
"""Candidates of the top whose features are kept for training: the longest slate there is."""


def served(pool: Pool, ranked: Ranked, best_first: Ids, task: RankingTask) -> ServedFeatures | None:
    """The features of the pool's first, and of the explorable with the lowest lots; None where nothing was ranked.

    All features that there are, and not only those that this ranker wanted: another that is judged by the draws wants others.
    With the ranker `v1` a row of 14.7 kB instead of 11.5. The others are asked for of the very candidates that were ranked, whose
    columns are at hand: gathering those of the kept among a million people takes longer than computing a few for all.
    """
    if ranked.features is None:
        return None
    lots = lots_of(pool)[:LOTS_KEPT]
    n_first = min(FIRST, len(pool))
    later = lots[lots >= n_first]
    kept = np.concatenate([np.arange(n_first), later])
    rows = lots.copy()
    rows[lots >= n_first] = n_first + np.arange(len(later))
    further, ranks = _further(ranked.names), best_first[kept]
    matrix = np.concatenate([ranked.features[ranks], task.people.features(task.ids, further)[ranks]], axis=1)
    return ServedFeatures(
        pool_id=pool.pool_id,
        computed_at=datetime.fromtimestamp(pool.created_at_s, UTC),
        names=ranked.names + further,
        candidate_ids=tuple(pool.id_array()[kept].tolist()),
        matrix=np.ascontiguousarray(matrix, "<f4").tobytes(),
        explorable=tuple(rows.tolist()),
    )


@cache
def _further(names: tuple[str, ...]) -> tuple[str, ...]:
    """All the features that a ranker does not want."""
    return tuple(name for name in FEATURES if name not in names)
