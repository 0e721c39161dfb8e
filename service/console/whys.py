"""Why somebody is shown to a viewer, or where on the way they left."""

import asyncio
from typing import get_args
from urllib.parse import quote

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.console.frame import go, page
from service.console.people import PEOPLE, SlatesQuery, known
from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest, person_id, query_of
from service.domain import RecommendationRequest
from service.errors import DatabaseUnavailable
from service.recommend.ports import ModelSource
from service.recommend.why import LeftAt, Why
from service.repositories.users import Users

STAGES = ("unknown", "eligibility", "population", "retrieval", "pool", "selection")
"""In the order of the way, where a candidate may leave."""
assert set(STAGES) == set(get_args(LeftAt))


class Stage(msgspec.Struct, frozen=True):
    """`standing`: `passed`, `left` or `not reached`."""

    label: str
    standing: str


_LABELS = ("exists", "eligible", "in memory", "found by a source", "in the ranked pool", "in the slate")


class AskQuery(SlatesQuery, frozen=True, kw_only=True):
    """Asks about whom a form names."""

    candidate: str = ""


class Whys(Controller):
    path = "/people/{user_id:str}/why"

    @get("/")
    async def ask(self, request: AnyRequest, user_id: FromPath[str]) -> Response[bytes]:
        """From a form, whose browser cannot put a field into a path."""
        viewer_id, query = person_id(user_id), query_of(request, AskQuery)
        candidate_id = person_id(query.candidate.strip(), "candidate")
        return go(request, why_path(viewer_id, candidate_id, query, query.a))

    @get("/{candidate_id:str}")
    async def why(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        candidate_id: FromPath[str],
        why: NamedDependency[SkipValidation[Why]],
        users: NamedDependency[SkipValidation[Users]],
        models: NamedDependency[SkipValidation[ModelSource]],
    ) -> Response[bytes]:
        viewer_id, asked_about, query = person_id(user_id), person_id(candidate_id, "candidate"), query_of(request, SlatesQuery)
        question = RecommendationRequest(
            viewer_id=viewer_id,
            limit=query.limit,
            exclude_seen=not query.with_seen,
            algorithm_version=query.a or None,
            use_cache=not query.afresh,
            recorded=False,
            request_id=exchange_of(request).request_id,
        )
        viewer, _, _ = await known(viewer_id, users, models)
        told, candidate = await asyncio.gather(why.ask(question, asked_about), _name(asked_about, users, models))
        return page(
            request,
            "why.html",
            person=viewer,
            candidate_id=asked_about,
            candidate=candidate,
            told=told,
            stages=_way(told.left_at),
            most=max((abs(one.contribution) for one in told.contributions), default=0.0),
            query=query,
        )


def why_path(viewer_id: int, candidate_id: int, query: SlatesQuery, algorithm_version: str) -> str:
    """The page that tells why, of the question that a slate answered."""
    flags = {"with_seen": query.with_seen, "afresh": query.afresh}
    parts = [f"limit={query.limit}", *(f"{name}=true" for name, is_on in flags.items() if is_on)]
    if algorithm_version:
        parts.append(f"a={quote(algorithm_version, safe='')}")
    return f"{PEOPLE}/{viewer_id}/why/{candidate_id}?{'&'.join(parts)}"


def _way(left_at: LeftAt | None) -> list[Stage]:
    """All the stages, with how far the candidate came."""
    reached = len(STAGES) if left_at is None else STAGES.index(left_at)
    standings = ("passed" if at < reached else "left" if at == reached else "not reached" for at in range(len(STAGES)))
    return [Stage(label, standing) for label, standing in zip(_LABELS, standings, strict=True)]


async def _name(person: int, users: Users, models: ModelSource) -> str:
    try:
        profile = await users.get(person)
    except DatabaseUnavailable:
        profile = models.current.population.profile(person)
    return f"person {person}" if profile is None else profile.name
