"""People whose profiles read like the viewer's own and like those of the people whom the viewer likes."""

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Found, People, SourceQuery


class SimilarPeople:
    """The nearest in content to the viewer's content query: the direction of the own profile, which weighs as much as five
    liked people, and of those liked. So a newcomer finds their like, and who has liked many finds more of those.

    Nobody without trained vectors, or for a viewer of whom nothing is known.
    """

    contract_version = CONTRACT_VERSION
    version = "1"

    def find(self, people: People, query: SourceQuery) -> Found:
        vector = people.viewer_vector("content")
        if vector is None:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        return people.search("content", vector, query.k)
