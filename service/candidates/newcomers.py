"""People who joined lately, so that they are seen before anybody can know how they are liked."""

import numpy as np
from amity_rankers.contract import CONTRACT_VERSION, Found, People, SourceQuery

NEW_FOR_DAYS = 30.0
_DAY_S = 86_400.0


class Newcomers:
    """Those who joined within 30 days, newest first; ties, as after an import without times, by lot.

    Scores fall from 1 (now) to 0 (30 days ago).
    """

    contract_version = CONTRACT_VERSION
    version = "1"

    def find(self, people: People, query: SourceQuery) -> Found:
        ids, joined_s = people.newest(query.k, query.now_s - NEW_FOR_DAYS * _DAY_S, query.seed)
        # A time of joining in the future (another machine's clock) is as new as now.
        age_days = np.maximum(0.0, (query.now_s - joined_s) / _DAY_S)
        return Found(ids, (1 - age_days / NEW_FOR_DAYS).astype(np.float32))
