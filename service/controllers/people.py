"""People: profiles, preferences, status, and their matches."""

import base64
from datetime import UTC, datetime
from functools import partial

import msgspec
from litestar import Controller, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.controllers.exchange import exchange_of
from service.controllers.people_shapes import (
    BatchReply,
    PeopleBatch,
    Person,
    PersonBody,
    PersonChanges,
    change_problems,
    cross_field_problems,
    person_of,
    profile_of,
)
from service.controllers.routes import AnyRequest, body_of, person_id, query_of, reply, spec
from service.controllers.shapes import MatchesQuery, MatchesReply
from service.controllers.writes import Aftermath
from service.domain import Match, Profile
from service.errors import BadInput, DatabaseUnavailable, Problem, UnknownUser
from service.recommend.ports import ModelSource
from service.repositories.matches import Matches
from service.repositories.users import Users


class People(Controller):
    path = "/api/v1/users"

    @put(
        "/{user_id:str}",
        opt=spec(
            summary="Store a person whole",
            scope="write",
            body=PersonBody,
            replies={201: Person, 200: Person},
            errors=(503,),
            description="201 for somebody new, 200 for a replaced profile. An erased id may be used again for somebody new.",
        ),
    )
    async def put_person(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        users: NamedDependency[SkipValidation[Users]],
        aftermath: NamedDependency[SkipValidation[Aftermath]],
    ) -> Response[bytes]:
        viewer_id = _noted(request, "user stored", user_id)
        body = await body_of(request, PersonBody)
        now = datetime.now(UTC)
        problems = cross_field_problems(body, now)
        if body.id not in (msgspec.UNSET, viewer_id):
            problems.append(Problem("id", "must be the id in the path, or left out"))
        if problems:
            raise BadInput(*problems)
        profile = profile_of(body, viewer_id, now)
        is_new, created_at = await users.put(profile, is_dated=body.created_at is not None)
        await aftermath.of_people([viewer_id])
        return reply(person_of(msgspec.structs.replace(profile, created_at=created_at)), 201 if is_new else 200)

    @get(
        "/{user_id:str}",
        opt=spec(summary="One person", scope="read", replies={200: Person}, errors=(404, 503)),
    )
    async def get_person(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        users: NamedDependency[SkipValidation[Users]],
        models: NamedDependency[SkipValidation[ModelSource]],
    ) -> Response[bytes]:
        viewer_id = _noted(request, "user shown", user_id)
        try:
            profile = await users.get(viewer_id)
        except DatabaseUnavailable:
            profile = models.current.population.profile(viewer_id)  # as last known
            if profile is None:
                raise
        if profile is None:
            raise UnknownUser(viewer_id)
        return reply(person_of(profile))

    @patch(
        "/{user_id:str}",
        opt=spec(summary="Change some of a person", scope="write", body=PersonChanges, replies={200: Person}, errors=(404, 503)),
    )
    async def patch_person(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        users: NamedDependency[SkipValidation[Users]],
        aftermath: NamedDependency[SkipValidation[Aftermath]],
    ) -> Response[bytes]:
        viewer_id = _noted(request, "user changed", user_id)
        body = await body_of(request, PersonChanges)
        changes = body.given()
        after = await (users.patch(viewer_id, changes, partial(_check, body)) if changes else users.get(viewer_id))
        if after is None:
            raise UnknownUser(viewer_id)
        if changes:
            await aftermath.of_people([viewer_id])
        return reply(person_of(after))

    @delete(
        "/{user_id:str}",
        status_code=204,
        opt=spec(summary="Erase a person everywhere", scope="admin", replies={204: None}, errors=(404, 503)),
    )
    async def erase_person(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        users: NamedDependency[SkipValidation[Users]],
        aftermath: NamedDependency[SkipValidation[Aftermath]],
    ) -> None:
        viewer_id = _noted(request, "user erased", user_id)
        if not await users.erase(viewer_id):
            raise UnknownUser(viewer_id)
        await aftermath.of_people([viewer_id])

    @post(
        "/batch",
        opt=spec(
            summary="Store up to 1,000 people, all or none",
            scope="write",
            body=PeopleBatch,
            replies={201: BatchReply, 200: BatchReply},
            errors=(503,),
            description="201 when anybody is new, else 200. A `created_at` left out is now for somebody new, else unchanged.",
        ),
    )
    async def put_people(
        self,
        request: AnyRequest,
        users: NamedDependency[SkipValidation[Users]],
        aftermath: NamedDependency[SkipValidation[Aftermath]],
    ) -> Response[bytes]:
        exchange_of(request).event = "users stored"
        body = await body_of(request, PeopleBatch)
        now = datetime.now(UTC)
        if problems := _batch_problems(body, now):
            raise BadInput(*problems)
        undated = [person.id for person in body.users if person.created_at is None]
        created, replaced = await users.put_many([profile_of(person, person.id, now) for person in body.users], undated)
        exchange_of(request).fields |= {"created": created, "replaced": replaced}
        await aftermath.of_people(person.id for person in body.users)
        return reply(BatchReply(created, replaced), 201 if created else 200)

    @get(
        "/{user_id:str}/matches",
        opt=spec(
            summary="A person's matches, newest first",
            scope="read",
            query=MatchesQuery,
            replies={200: MatchesReply},
            errors=(404, 503),
        ),
    )
    async def list_matches(
        self,
        request: AnyRequest,
        user_id: FromPath[str],
        users: NamedDependency[SkipValidation[Users]],
        matches: NamedDependency[SkipValidation[Matches]],
    ) -> Response[bytes]:
        viewer_id = _noted(request, "matches listed", user_id)
        query = query_of(request, MatchesQuery)
        after = _from_cursor(query.cursor) if query.cursor is not None else None
        found = await matches.page(viewer_id, query.limit + 1, after)
        if not found and not await users.exists([viewer_id]):
            raise UnknownUser(viewer_id)
        shown = found[: query.limit]
        exchange_of(request).fields["count"] = len(shown)
        cursor = _to_cursor(shown[-1]) if len(found) > len(shown) else None
        return reply(MatchesReply(tuple(shown), cursor, exchange_of(request).request_id))


def _noted(request: AnyRequest, event: str, user_id: str) -> int:
    """The id in the path, told to the log line as well."""
    exchange = exchange_of(request)
    exchange.event = event
    exchange.fields["viewer_id"] = viewer_id = person_id(user_id)
    return viewer_id


def _check(changes: PersonChanges, after: Profile) -> None:
    """Raises BadInput for what the changes make of the person."""
    if problems := change_problems(changes, after, datetime.now(UTC)):
        raise BadInput(*problems)


def _batch_problems(body: PeopleBatch, now: datetime) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[int] = set()
    for i, person in enumerate(body.users):
        if person.id in seen:
            problems.append(Problem(f"users[{i}].id", "is given twice"))
        seen.add(person.id)
        problems += cross_field_problems(person, now, f"users[{i}].")
    return problems


def _to_cursor(last: Match) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(last)).decode().rstrip("=")


def _from_cursor(cursor: str) -> Match:
    """Raises BadInput for what is no cursor of ours."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        last = msgspec.msgpack.decode(raw, type=Match)
    except (ValueError, msgspec.DecodeError) as exc:
        raise BadInput.of("cursor", "must be the next_cursor of an earlier page") from exc
    if last.matched_at.tzinfo is None:
        raise BadInput.of("cursor", "must be the next_cursor of an earlier page")
    return last
