"""People with whom interest is likely to be mutual, by what both have liked so far."""

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Found, People, SourceQuery


class MutualTaste:
    """The nearest in the space of both directions: p·q one way plus p·q the other. Nobody without trained vectors."""

    contract_version = CONTRACT_VERSION
    version = "1"

    def find(self, people: People, query: SourceQuery) -> Found:
        vector = people.viewer_vector("mutual")
        if vector is None:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        return people.search("mutual", vector, query.k)
