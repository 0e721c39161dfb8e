"""What people did to one another."""

from datetime import UTC, datetime

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.controllers.exchange import exchange_of
from service.controllers.people_shapes import time_problems
from service.controllers.routes import AnyRequest, body_of, reply, spec
from service.controllers.shapes import InteractionBatch, InteractionRecord, InteractionsReply
from service.controllers.writes import Aftermath
from service.domain import NO_TIME, Interaction
from service.errors import BadInput, Problem
from service.repositories.interactions import Interactions


class InteractionsController(Controller):
    path = "/api/v1/interactions"

    @post(
        "/",
        opt=spec(
            summary="Record what people did, all or none",
            scope="write",
            body=InteractionBatch,
            replies={201: InteractionsReply},
            errors=(503,),
            description="Answered after the commit. An unknown person is 422, naming the row.",
        ),
    )
    async def record_interactions(
        self,
        request: AnyRequest,
        interactions: NamedDependency[SkipValidation[Interactions]],
        aftermath: NamedDependency[SkipValidation[Aftermath]],
    ) -> Response[bytes]:
        exchange = exchange_of(request)
        exchange.event = "interactions recorded"
        body = await body_of(request, InteractionBatch)
        if problems := _problems(body, datetime.now(UTC)):
            raise BadInput(*problems)
        given = [_interaction(record) for record in body.interactions]
        recorded = await interactions.record(given)
        exchange.fields |= {"recorded": recorded.recorded, "repeated": recorded.repeated, "matches": len(recorded.matches)}
        await aftermath.of_interactions(given, recorded)
        return reply(InteractionsReply(recorded.recorded, recorded.repeated, tuple(recorded.matches)), 201)


def _problems(body: InteractionBatch, now: datetime) -> list[Problem]:
    problems: list[Problem] = []
    for i, record in enumerate(body.interactions):
        problems += time_problems(record.occurred_at, f"interactions[{i}].occurred_at", now)
        if record.actor_id == record.target_id:
            problems.append(Problem(f"interactions[{i}].target_id", "must be somebody else than the actor"))
    return problems


def _interaction(record: InteractionRecord) -> Interaction:
    return Interaction(
        actor_id=record.actor_id,
        target_id=record.target_id,
        kind=record.kind,
        occurred_at=record.occurred_at or NO_TIME,
        event_id=record.event_id,
        slate_id=record.slate_id,
    )
