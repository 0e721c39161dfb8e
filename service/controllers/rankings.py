"""The caller's own candidates ranked, and why somebody is recommended or is not."""

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest, body_of, person_id, query_of, reply, spec
from service.controllers.shapes import RankBody, RankQuery, WhyQuery
from service.recommend.rank_given import Given, RankedCandidates, RankGiven
from service.recommend.why import Why, WhyReply


class Rankings(Controller):
    path = "/api/v1/recommendations/users"

    @post(
        "/{user_id:str}/rank",
        status_code=200,
        opt=spec(
            summary="The caller's candidates, ranked",
            scope="read",
            query=RankQuery,
            body=RankBody,
            replies={200: RankedCandidates},
            errors=(404, 503),
            description="By the named ranker or the default one, outside of experiments; whom the viewer has liked or passed is "
            "ranked as well. Who may not be shown to the viewer is in `ineligible`, with the reason. Nothing is recorded as "
            "shown. `degraded` lists what was bent.",
        ),
    )
    async def rank(
        self, request: AnyRequest, user_id: FromPath[str], rank_given: NamedDependency[SkipValidation[RankGiven]]
    ) -> Response[bytes]:
        exchange = exchange_of(request)
        exchange.fields["viewer_id"] = viewer_id = person_id(user_id)
        algorithm_version = query_of(request, RankQuery).algorithm_version
        body = await body_of(request, RankBody)
        given = Given(
            viewer_id=viewer_id,
            candidate_ids=body.candidate_ids,
            algorithm_version=algorithm_version,
            request_id=exchange.request_id,
        )
        ranked = await rank_given.rank(given)
        exchange.event = "candidates ranked"
        exchange.fields |= {
            "count": ranked.total_count,
            "algorithm_version": ranked.algorithm_version,
            "generation_time_ms": ranked.generation_time_ms,
        }
        exchange.bend(ranked.degraded)
        return reply(ranked)

    @get(
        "/{user_id:str}/why/{candidate_id:str}",
        opt=spec(
            summary="Why somebody is recommended, or at which stage they left",
            scope="admin",
            query=WhyQuery,
            replies={200: WhyReply},
            errors=(404, 503),
            description="Takes the parameters of the question that is asked about. It goes the same way, out of a pool that is "
            "there, or one made for this alone; nobody is shown anything and nothing is stored. Whom the pool does not hold "
            "is looked for in the sources once more. Of an interleaved slate the first ranker is asked, unless another is "
            "named. Tells what products must not: blocks, passes and what people seek.",
        ),
    )
    async def why(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        candidate_id: FromPath[str],
        why: NamedDependency[SkipValidation[Why]],
    ) -> Response[bytes]:
        exchange = exchange_of(request)
        exchange.fields["viewer_id"] = viewer_id = person_id(user_id)
        exchange.fields["candidate_id"] = asked_about = person_id(candidate_id, "candidate_id")
        question = query_of(request, WhyQuery).to_request(viewer_id, exchange.request_id, recorded=False)
        told = await why.ask(question, asked_about)
        exchange.event = "explained why"
        exchange.fields["left_at"] = told.left_at
        exchange.bend(told.degraded)
        return reply(told)
