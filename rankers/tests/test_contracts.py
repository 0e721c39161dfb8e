"""The built-in rankers keep the contract that third parties are held to, and tie equal candidates to the last bit."""

from amity_rankers.heuristic import HeuristicFactory
from amity_rankers.lambdamart import LambdaMartFactory
from amity_rankers.logistic import LogisticFactory
from amity_rankers.popular import PopularFactory
from amity_rankers.testing import RankerContract


class TestHeuristic(RankerContract):
    factory = HeuristicFactory
    tolerance = 0.0


class TestLogistic(RankerContract):
    factory = LogisticFactory
    tolerance = 0.0


class TestLambdaMart(RankerContract):
    factory = LambdaMartFactory
    tolerance = 0.0
    most_ms = 40.0
    most_mb = 5.0


class TestPopular(RankerContract):
    factory = PopularFactory
    tolerance = 0.0
