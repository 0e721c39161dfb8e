"""The life of a request, on fakes."""

from service.domain import RecommendationRequest
from tests.fakes import World, person


def crowd(n: int = 40) -> World:
    return World(person(one) for one in range(1, n + 1))


def ask(**changes: object) -> RecommendationRequest:
    return RecommendationRequest(**({"viewer_id": 1, "request_id": "r1"} | changes))  # type: ignore[arg-type]


def ids(slate: object) -> list[int]:
    return [one.id for one in slate.recommendations]  # type: ignore[attr-defined]


async def test_a_request_brings_the_best_by_score_with_every_field() -> None:
    slate = await crowd().orchestrator.recommend(ask(limit=5))
    assert ids(slate) == [40, 39, 38, 37, 36]
    assert (slate.total_count, slate.algorithm_version, slate.bundle_version, slate.request_id) == (5, "v1", "b1", "r1")
    assert (slate.cached, slate.degraded, slate.message, slate.ordering, slate.experiment) == (False, (), None, "score", None)
    assert slate.recommendations[0].sources == ("explore",)


async def test_the_second_request_is_served_from_the_pool() -> None:
    world = crowd()
    first = await world.orchestrator.recommend(ask())
    second = await world.orchestrator.recommend(ask())
    assert second.cached
    assert ids(second) == ids(first)
    assert world.sources["explore"].asked == 1
