"""The rankers that are installed, and how each stands."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest, reply, spec
from service.controllers.shapes import Algorithm, AlgorithmsReply, LeftOut
from service.plugins import LoadedRanker
from service.ranker_stock import RankerStock
from service.recommend.ports import ModelSource
from service.recommend.stages import Breakers
from service.settings import Settings


class Algorithms(Controller):
    path = "/api/v1/algorithms"

    @get(
        "/",
        opt=spec(
            summary="The installed rankers",
            scope="read",
            replies={200: AlgorithmsReply},
            description="A ranker that is not `loaded` says why in `problem`; the fallback then answers for it. Those `left_out` "
            "cannot be used at all: `algorithm_version` may not name them.",
        ),
    )
    async def list_algorithms(
        self,
        request: AnyRequest,
        models: NamedDependency[SkipValidation[ModelSource]],
        breakers: NamedDependency[SkipValidation[Breakers]],
        stock: NamedDependency[SkipValidation[RankerStock]],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> Response[bytes]:
        now, states = models.current, breakers.states()
        listed = AlgorithmsReply(
            algorithms=tuple(_algorithm(ranker, states.get(ranker.part, "closed")) for _, ranker in sorted(now.rankers.items())),
            left_out=tuple(LeftOut(problem.name, problem.distributions, problem.reason) for problem in stock.problems),
            default=settings.default_ranker,
            fallback=settings.fallback_ranker,
            bundle_version=now.population.bundle_version,
            request_id=exchange_of(request).request_id,
        )
        return reply(listed)


def _algorithm(ranker: LoadedRanker, breaker: str) -> Algorithm:
    return Algorithm(
        name=ranker.name,
        version=ranker.version,
        distribution=ranker.distribution,
        distribution_version=ranker.distribution_version,
        needs_bundle=ranker.needs_bundle,
        loaded=ranker.ranker is not None,
        breaker=breaker,
        problem=ranker.problem,
    )
