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
        ids = people.eligible_ids()
        created_at_s = people.column("created_at_s")
        # A time of joining in the future (another machine's clock) is as new as now.
        age_days = np.maximum(0.0, (query.now_s - created_at_s) / _DAY_S)
        new = np.flatnonzero(age_days <= NEW_FOR_DAYS)
        if len(new) > query.k > 0:  # a quick cut before the sort: half of a young population is new
            new = new[created_at_s[new] >= np.partition(created_at_s[new], -query.k)[-query.k]]
        new = new[np.argsort(ids[new])]  # rows differ between replicas; the lot of a seed must not
        lot = np.random.default_rng(query.seed).permutation(len(new))
        best = new[np.lexsort((lot, -created_at_s[new]))[: query.k]]
        return Found(ids[best], (1 - age_days[best] / NEW_FOR_DAYS).astype(np.float32))
