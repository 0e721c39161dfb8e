"""A person, and whom they would be shown: by one ranker, or by two side by side.

Nobody is shown anything by looking here: requests are not `recorded`, so that no impression is written, nobody's exposure
grows, and a pool that is made for a look is not kept for the viewer.
"""

import asyncio
from contextlib import suppress
from typing import Annotated

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from msgspec import Meta

from service.console.admission import NoForm, form_of
from service.console.comparing import Column, overlap, places
from service.console.frame import go, page
from service.console.words import plural
from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest, person_id, query_of
from service.controllers.shapes import Limit
from service.domain import Profile, RecommendationRequest, Relations
from service.errors import AmityError, BadInput, DatabaseUnavailable, UnknownUser
from service.recommend.orchestrator import Orchestrator
from service.recommend.ports import ModelSource
from service.repositories.users import Users

PEOPLE = "/console/people"
_FOUND = 24
"""People in a list at most."""


RankerName = Annotated[str, Meta(max_length=100)]


class FindQuery(msgspec.Struct, frozen=True, kw_only=True):
    q: str = ""


class SlatesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`a` and `b` name rankers. `a` empty: whoever ranks for this viewer, experiments included; `b` empty: nobody beside it."""

    a: RankerName = ""
    b: RankerName = ""
    limit: Limit = 12
    with_seen: bool = False
    afresh: bool = False


class People(Controller):
    path = "/people"

    @get("/")
    async def find(self, request: AnyRequest, users: NamedDependency[SkipValidation[Users]]) -> Response[bytes]:
        """By id, or by how the name or its last word begins; without either, some of those who are there."""
        text = query_of(request, FindQuery).q.strip()
        with suppress(BadInput):  # it is no id
            if await users.exists([named := person_id(text)]):
                return go(request, f"{PEOPLE}/{named}")
        if text:
            found = await users.named(text, _FOUND + 1)
        else:
            found = await anext(users.stream(_FOUND), [])
        return page(request, "people.html", text=text, people=found[:_FOUND], more=len(found) > _FOUND)

    @get("/{user_id:str}")
    async def show(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        users: NamedDependency[SkipValidation[Users]],
        models: NamedDependency[SkipValidation[ModelSource]],
        orchestrator: NamedDependency[SkipValidation[Orchestrator]],
    ) -> Response[bytes]:
        viewer_id = person_id(user_id)
        query = query_of(request, SlatesQuery)
        profile, relations, is_stale = await known(viewer_id, users, models)
        asked = [query.a or None, *([query.b] if query.b else [])]
        questions = [_question(viewer_id, query, name, exchange_of(request).request_id) for name in asked]
        columns = await asyncio.gather(*(_column(orchestrator, question) for question in questions))
        slates = [column.slate for column in columns]
        beside = dict(zip(range(len(slates)), reversed(slates), strict=True)) if len(slates) == 2 else {}
        return page(
            request,
            "person.html",
            person=profile,
            relations=relations,
            n_matches=len(relations.liked & relations.liked_by),
            is_stale=is_stale,
            query=query,
            rankers=sorted(models.current.rankers),
            columns=[
                (column, [] if column.slate is None else places(column.slate, beside.get(index)))
                for index, column in enumerate(columns)
            ],
            overlap=overlap(columns),
        )

    @post("/{user_id:str}/refresh", status_code=200)
    async def refresh(
        self, request: AnyRequest, user_id: FromPath[str], orchestrator: NamedDependency[SkipValidation[Orchestrator]]
    ) -> Response[bytes]:
        viewer_id = person_id(user_id)
        form_of(request, NoForm)
        n_people = await orchestrator.refresh([viewer_id])
        return go(request, f"{PEOPLE}/{viewer_id}", f"The pools of {plural(n_people, 'person', 'people')} were dropped.")


async def known(viewer_id: int, users: Users, models: ModelSource) -> tuple[Profile, Relations, bool]:
    """A person and how they stand to others; True with it when that is from memory, since the database is away. Raises
    UnknownUser."""
    try:
        found = await users.viewer(viewer_id)
    except DatabaseUnavailable:
        memory = models.current.population
        if (profile := memory.profile(viewer_id)) is None:
            raise
        return profile, memory.relations(viewer_id), True
    if found is None:
        raise UnknownUser(viewer_id)
    return *found, False


def _question(viewer_id: int, query: SlatesQuery, algorithm_version: str | None, request_id: str) -> RecommendationRequest:
    return RecommendationRequest(
        viewer_id=viewer_id,
        limit=query.limit,
        exclude_seen=not query.with_seen,
        algorithm_version=algorithm_version,
        use_cache=not query.afresh,
        recorded=False,
        explain=True,
        request_id=request_id,
    )


async def _column(orchestrator: Orchestrator, question: RecommendationRequest) -> Column:
    try:
        return Column(asked=question.algorithm_version, slate=await orchestrator.recommend(question))
    except AmityError as exc:
        problems = [problem.message for problem in getattr(exc, "problems", ())]
        return Column(asked=question.algorithm_version, problem="; ".join(problems) or exc.message)
