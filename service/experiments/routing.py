"""Which algorithm answers a request. Pure: the same request and the same plug-ins give the same answer on every replica."""

from collections.abc import Sequence

from service.domain import ExperimentArm, RecommendationRequest
from service.errors import UnknownAlgorithm


def route(request: RecommendationRequest, installed: Sequence[str], default_ranker: str) -> tuple[str, ExperimentArm | None]:
    """The ranker's name and the experiment's arm that chose it: the ranker that the request names, else the default.

    Raises UnknownAlgorithm, naming those installed, for a name that is not among them.
    """
    if request.algorithm_version is None:
        return default_ranker, None
    if request.algorithm_version not in installed:
        raise UnknownAlgorithm(request.algorithm_version, tuple(installed))
    return request.algorithm_version, None
