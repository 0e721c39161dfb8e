"""Two rankers in one slate: both pools come the ordinary way, and a team draft is made of whom each may show.

No such slate is held, and none explores: what is compared is the order into which two rankers put people. While something is bent
the slate is served, and bears no teams: it would compare what failed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.experiments.draft import Drafted, seed_of, team_draft
from service.fleet.tokens import Tokens
from service.recommend.answers import Answer
from service.recommend.computation import Job, Made
from service.recommend.messages import NOBODY_KNOWN, explain
from service.recommend.pool_store import Found, Look, told_of
from service.recommend.renewals import Renewals
from service.recommend.slates import Shown
from service.recommend.turns import Course, Courses, Turn, check_place
from service.recommend.viewers import ViewerState
from service.telemetry import stage

_MISS = Found(None, "miss")


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One ranker's part: its turn, and what was found for it."""

    turn: Turn
    look: Look
    found: Found

    def job(self, viewer: ViewerState) -> Job:
        return self.turn.job(viewer, self.look, instead_of=self.found.pool)

    def is_found(self, course: Course) -> bool:
        """Whether that is of the pool that there was."""
        return course.pool is self.found.pool


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A slate of both. Their courses were taken by the same state of the viewer."""

    first: Course
    second: Course
    drafted: Drafted
    limit: int

    @property
    def courses(self) -> tuple[Course, Course]:
        return self.first, self.second

    @property
    def n_eligible(self) -> int:
        return max(course.n_eligible for course in self.courses)

    @property
    def leaves_out(self) -> bool:
        """Whether the slate is short though memory knows more people who are eligible now. One full course fills it."""
        return len(self.drafted.ids) < self.limit and self.n_eligible > len(self.drafted.ids)

    def positions(self) -> list[tuple[Shown, str]]:
        """Each as the ranker that brought the person shows them, and its name. Only one of them has whom neither is credited
        with."""
        first, second = (
            {_id(shown): (shown, course.pool.algorithm_version) for shown in course.shown} for course in self.courses
        )
        by_team = (first, second, first | second)
        return [by_team[team][who] for who, team in zip(self.drafted.ids, self.drafted.teams, strict=True)]


class Interleaving:
    """Answers requests of viewers whose experiment interleaves."""

    def __init__(self, courses: Courses, renewals: Renewals) -> None:
        self._courses = replace(courses, exploration_share=0.0)
        self._renewals = renewals

    async def answer(self, first: Turn, second: Turn) -> Answer:
        """The story, as the orchestrator tells it of one ranker. Both turns have the same request, deadline and trail."""
        courses, request, turns = self._courses, first.request, (first, second)
        with stage("pool") as looking:
            looks = await asyncio.gather(*(courses.pools.look(turn.wanted, turn.deadline, turn.now_s) for turn in turns))
        tokens = looks[0].tokens
        version = None if tokens is None else tokens.version
        viewer = await courses.viewers.state(request.viewer_id, version, first.memory, first.deadline, first.trail)
        if viewer is None:
            return Answer.nothing(first.algorithm, NOBODY_KNOWN, first.arm)
        check_place(viewer, request)

        each_side = [await self._side(turn, look, viewer) for turn, look in zip(turns, looks, strict=True)]
        looking.tell(told_of(*((side.look, side.found) for side in each_side)))
        sides = _of_one_bundle(each_side)
        supplies = [side.job(viewer) if side.found.pool is None else Made(side.found.pool) for side in sides]
        draft = await self._draft(sides, supplies, viewer, tokens)
        if draft.leaves_out and not request.exclude_ids:
            draft = await self._afresh(sides, draft)
        elif request.recorded and not first.trail.degraded:
            self._renew(sides, draft)
        if draft.leaves_out and request.exclude_ids:
            once = [side.turn.job_for_once(course) for side, course in zip(sides, draft.courses, strict=True)]
            draft = await self._draft(sides, once, draft.first.viewer, tokens)
        return await self._answered(sides, draft)

    async def _side(self, turn: Turn, look: Look, viewer: ViewerState) -> _Side:
        return _Side(turn, look, await self._courses.pools.choose(look, turn.wanted, viewer.marks, turn.deadline, turn.now_s))

    async def _draft(
        self, sides: Sequence[_Side], supplies: Sequence[Made | Job], viewer: ViewerState, tokens: Tokens | None
    ) -> _Draft:
        """The slate out of pools that there are or, side by side, are made; then by a state that was read after that.

        Nobody beyond the first `limit` of each can be drafted, so each slate is filled as if it stood alone; one after the
        other, since the second finds most of its people read.
        """
        turn, (one, other) = sides[0].turn, supplies
        if isinstance(one, Job) and isinstance(other, Job):
            supplies = self._courses.computation.side_by_side(one, other)
        made = await asyncio.gather(*(self._pool(side, supply) for side, supply in zip(sides, supplies, strict=True)))
        if any(isinstance(supply, Job) for supply in supplies):
            viewer, tokens = await self._courses.newest(turn, viewer)
        first, second = [
            await self._courses.show(side.turn, one.pool, viewer, tokens, one.features)
            for side, one in zip(sides, made, strict=True)
        ]
        of_first, of_second = ([_id(shown) for shown in course.shown] for course in (first, second))
        seed, limit = seed_of(first.pool.pool_id, second.pool.pool_id), turn.request.limit
        return _Draft(first, second, team_draft(of_first, of_second, limit, seed), limit)

    async def _pool(self, side: _Side, supply: Made | Job) -> Made:
        if isinstance(supply, Made):
            return supply
        return await self._courses.computation.make(supply, side.turn.deadline, side.turn.trail)

    async def _afresh(self, sides: Sequence[_Side], draft: _Draft) -> _Draft:
        """The slate out of new pools in the place of those found; as it is when all were new."""
        supplies = [
            side.job(course.viewer) if side.is_found(course) else Made(course.pool, features=course.features)
            for side, course in zip(sides, draft.courses, strict=True)
        ]
        if not any(isinstance(supply, Job) for supply in supplies):
            return draft
        return await self._draft(sides, supplies, draft.first.viewer, draft.first.tokens)

    def _renew(self, sides: Sequence[_Side], draft: _Draft) -> None:
        for side, course in zip(sides, draft.courses, strict=True):
            if side.is_found(course) and side.found.standing == "stale":
                self._renewals.offer(side.job(course.viewer))

    async def _answered(self, sides: Sequence[_Side], draft: _Draft) -> Answer:
        """The pool in the impression, and the features that are kept, are the first ranker's."""
        turn, course, positions = sides[0].turn, draft.first, draft.positions()
        request, trail, n_shown = turn.request, turn.trail, len(positions)
        teams = None if trail.degraded else draft.drafted.teams
        ranked = [(name, shown.entry.fragment.profile) for shown, name in positions]
        told = await self._courses.tell(turn, course.viewer, ranked) if request.explain else None
        counting = self._courses.counting(turn)
        return Answer(
            algorithm_version="+".join(each.pool.algorithm_version for each in draft.courses),
            bundle_version=course.pool.bundle_version,
            experiment=turn.arm,
            ordering="interleaved",
            shown=tuple(shown for shown, _ in positions),
            teams=teams,
            pool=course.pool,
            features=course.features,
            told=told,
            cached=all(side.is_found(each) for side, each in zip(sides, draft.courses, strict=True)),
            message=await explain(n_shown, draft.n_eligible, request.limit, course.asking, counting),
        )


def _id(shown: Shown) -> int:
    return shown.entry.fragment.profile.id


def _of_one_bundle(sides: list[_Side]) -> list[_Side]:
    """While bundles change, one pool may be of the old and the other of the new: what differs then is not the rankers alone, and
    the old one is made anew. Two of the old bundle serve on."""
    current = sides[0].turn.memory.bundle_version
    found = {current if side.found.pool is None else side.found.pool.bundle_version for side in sides}
    if len(found) == 1:
        return sides
    return [
        replace(side, found=_MISS) if side.found.pool is not None and side.found.pool.bundle_version != current else side
        for side in sides
    ]
