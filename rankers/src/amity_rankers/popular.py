"""Ranker `popular`: a match is the likelier, the more of those who saw the candidate liked them."""

import numpy as np

from amity_rankers.contract import CONTRACT_VERSION, Arrays, Floats, RankingBatch, TrainingExamples


class PopularRanker:
    def __init__(self, matches_per_like: float) -> None:
        self.matches_per_like = matches_per_like

    def score(self, batch: RankingBatch) -> Floats:
        likes: Floats = np.nan_to_num(batch.features[:, 0], nan=0.5)
        return (self.matches_per_like * likes).clip(0, 1)


class PopularFactory:
    contract_version = CONTRACT_VERSION
    version = "1"  # raise it when scores change: it is part of the cache's key
    required_features = ("candidate_like_rate_received",)  # (likes + 1) / (opinions + 2), so smoothed already
    needs_bundle = True  # learns from data, so it exists once a bundle has been trained with it
    light = True  # 2,000 candidates in well under a millisecond

    def train(self, examples: TrainingExamples) -> PopularRanker:
        likes = np.nan_to_num(examples.features[:, 0], nan=0.5).sum()
        return PopularRanker(float((examples.matched.sum() + 0.5) / (likes + 10)))

    def dump(self, ranker: PopularRanker) -> Arrays:
        return {"matches_per_like": np.array(ranker.matches_per_like)}

    def load(self, arrays: Arrays) -> PopularRanker:
        if "matches_per_like" not in arrays:
            raise ValueError("array 'matches_per_like' is missing")
        return PopularRanker(float(arrays["matches_per_like"]))
