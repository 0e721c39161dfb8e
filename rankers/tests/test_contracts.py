"""The built-in rankers keep the contract that third parties are held to, and tie equal candidates to the last bit."""

from amity_rankers.heuristic import HeuristicFactory
from amity_rankers.logistic import LogisticFactory
from amity_rankers.testing import RankerContract


class TestHeuristic(RankerContract):
    factory = HeuristicFactory
    tolerance = 0.0


class TestLogistic(RankerContract):
    factory = LogisticFactory
    tolerance = 0.0
