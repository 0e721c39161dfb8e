"""People who like the viewer and wait for an answer: the shortest way to a match."""

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Found, People, SourceQuery


class Admirers:
    """All admirers while they are no more than k; else a draw of k that treats all alike, so that nobody waits for ever
    behind those with small ids. Scores are 1: each likes the viewer, and how well they fit is the ranker's affair.
    """

    contract_version = CONTRACT_VERSION
    version = "1"

    def find(self, people: People, query: SourceQuery) -> Found:
        ids = np.sort(people.liked_by)
        if len(ids) > query.k:
            ids = np.sort(np.random.default_rng(query.seed).choice(ids, query.k, replace=False))
        return Found(ids, np.ones(len(ids), np.float32))
