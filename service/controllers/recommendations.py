"""Who should I meet: recommendations, similar people, and what operators ask of them."""

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.controllers.exchange import exchange_of
from service.controllers.hot import describe_made
from service.controllers.keys import require_scope
from service.controllers.routes import AnyRequest, body_of, person_id, query_of, reply, spec
from service.controllers.shapes import PerformanceQuery, RecommendationQuery, RefreshBody, RefreshReply, SimilarQuery
from service.domain import SimilarPeople, Slate
from service.errors import BadInput
from service.recommend.fleet_performance import FleetPerformance
from service.recommend.orchestrator import Orchestrator
from service.recommend.performance import Performance, PerformanceReport
from service.recommend.ports import Trail


class Recommendations(Controller):
    path = "/api/v1/recommendations"

    @get(
        "/users/{user_id:str}/recommendations",
        opt=spec(
            summary="People likely to like the viewer back",
            scope="read",
            query=RecommendationQuery,
            replies={200: Slate},
            errors=(404, 503),
            description="`degraded` lists what was bent to answer at all; a short or empty list says why in `message`. With "
            "`explain` each person has `reasons`, made of what the ranker's score is made of and of facts; `explained` is false "
            "where it could not tell.",
        ),
    )
    async def recommend(
        self, request: AnyRequest, user_id: FromPath[str], orchestrator: NamedDependency[SkipValidation[Orchestrator]]
    ) -> Response[bytes]:
        exchange = exchange_of(request)
        exchange.fields["viewer_id"] = viewer_id = person_id(user_id)
        if exchange.raised:
            raise exchange.raised.pop()
        query = query_of(request, RecommendationQuery)
        question = query.to_request(viewer_id, exchange.request_id, recorded=not exchange.bodiless)
        slate = await orchestrator.recommend(question)
        describe_made(exchange, viewer_id, slate)
        return reply(slate)

    @get(
        "/users/{user_id:str}/similar",
        opt=spec(
            summary="People like this one in content and taste",
            scope="read",
            query=SimilarQuery,
            replies={200: SimilarPeople},
            errors=(404, 503),
            description="Never the person, the inactive, or a blocked pair.",
        ),
    )
    async def similar(
        self, request: AnyRequest, user_id: FromPath[str], orchestrator: NamedDependency[SkipValidation[Orchestrator]]
    ) -> Response[bytes]:
        exchange = exchange_of(request)
        exchange.fields["viewer_id"] = viewer_id = person_id(user_id)
        limit, trail = query_of(request, SimilarQuery).limit, Trail()
        found = await orchestrator.similar(viewer_id, limit, trail, exchange.request_id)
        exchange.event = "similar people found"
        exchange.fields["count"] = found.total_count
        exchange.bend(trail.degraded)
        return reply(found)

    @post(
        "/refresh",
        status_code=200,
        opt=spec(
            summary="Drop ranked pools on every replica",
            scope="write",
            body=RefreshBody,
            replies={200: RefreshReply},
            errors=(503,),
            description="Either `user_ids` or `all`; `all` needs the scope `admin` as well. 503 when Redis did not take it.",
        ),
    )
    async def refresh(self, request: AnyRequest, orchestrator: NamedDependency[SkipValidation[Orchestrator]]) -> Response[bytes]:
        body = await body_of(request, RefreshBody)
        if body.all == (body.user_ids is not None):
            raise BadInput.of("user_ids", "must be given when all is not true, and only then")
        if body.all:
            require_scope(request, "admin")
        exchange = exchange_of(request)
        exchange.event = "pools dropped"
        exchange.fields["count"] = n_viewers = await orchestrator.refresh(body.user_ids)
        return reply(RefreshReply(n_viewers, exchange.request_id))

    @get(
        "/performance",
        opt=spec(
            summary="How fast recommendations are answered",
            scope="admin",
            query=PerformanceQuery,
            replies={200: PerformanceReport},
            errors=(503,),
            description="Counts are 0 and the rest null in an empty window. Requests to other replicas count within a second. "
            "503 when Redis, where replicas tell their figures, is away; `scope=replica` does without it.",
        ),
    )
    async def performance(
        self,
        request: AnyRequest,
        performance: NamedDependency[SkipValidation[Performance]],
        fleet_performance: NamedDependency[SkipValidation[FleetPerformance]],
    ) -> Response[bytes]:
        query = query_of(request, PerformanceQuery)
        if query.scope == "replica":
            return reply(performance.report(query.window_s))
        return reply(await fleet_performance.report(query.window_s))
