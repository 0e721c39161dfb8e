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
        ids = people.draw(query.k, query.seed)
        return Found(ids, np.full(len(ids), len(ids) / max(1, people.n_eligible), np.float32))
