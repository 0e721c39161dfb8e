"""Anybody eligible, by lot: how the service learns about those whom its other sources never show."""

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Found, People, SourceQuery


class Explore:
    """k of the eligible people, each with the same probability, from the query's seed. The score is that probability:
    the propensity of the draw, min(1, k / eligible). The order is that of the draw, random too.
    """

    contract_version = CONTRACT_VERSION
    version = "1"

    def find(self, people: People, query: SourceQuery) -> Found:
        if not people.n_eligible or query.k <= 0:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        n_drawn = min(query.k, people.n_eligible)
        ids = np.sort(people.eligible_ids(), kind="stable")  # rows differ between replicas; the draw of a seed must not
        drawn = np.random.default_rng(query.seed).choice(ids, n_drawn, replace=False)
        return Found(drawn, np.full(n_drawn, n_drawn / people.n_eligible, np.float32))
