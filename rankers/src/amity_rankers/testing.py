"""The contract suites that every ranker and every candidate source must pass, ours and yours. In a test module:

    class TestMyRanker(RankerContract):
        factory = MyFactory

    class TestMySource(SourceContract):
        source = MySource

Needs `pip install amity-rankers[testing]`.
"""

import pytest

# Before they are imported: pytest then says what a law that is broken has seen.
_LAWS = ("cost_laws", "keeping_laws", "reason_laws", "score_laws", "source_laws", "training_laws")
pytest.register_assert_rewrite(*(f"amity_rankers.{laws}" for laws in _LAWS))

from amity_rankers.cost_laws import CostLaws  # noqa: E402
from amity_rankers.reason_laws import ReasonLaws  # noqa: E402
from amity_rankers.score_laws import ScoreLaws  # noqa: E402
from amity_rankers.source_laws import SourceContract  # noqa: E402
from amity_rankers.training_laws import TrainingLaws  # noqa: E402

__all__ = ["RankerContract", "SourceContract"]


class RankerContract(ScoreLaws, TrainingLaws, ReasonLaws, CostLaws):
    """Set `factory`. The rest stands for most rankers:

    - `tolerance` (1e-6): how far scores may differ for the order of the batch alone, which products of whole matrices need.
    - `never_missing`: features that your ranker requires and whose definition has no missing values.
    - `most_ms` (60): CPU of scoring 2,000 candidates; the service gives ranking a quarter of a request's 250 ms.
    - `most_mb` (100): what a loaded ranker takes in every replica, and its arrays on disk.
    - `additive` (True): what its reasons add up to orders candidates as its scores do.
    """
