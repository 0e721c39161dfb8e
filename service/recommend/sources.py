"""The sources asked side by side: others' in a thread each, our own in as few as there are cores for."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from amity_rankers.contract import CandidateSource, Found, Ids, SourceQuery

from service.domain import Degradation
from service.errors import CircuitOpen, StageBroken, StageBusy, StageFailed
from service.recommend.ports import EligiblePeople, NamedSource
from service.recommend.stages import Breakers, enter, outcome_of
from service.resilience import Deadline
from service.telemetry import collect_timings, current_timings, tell
from service.threads import ThreadDoor

MOST_LANES = 2
"""Of five sources two search vectors and take most of the time: a third thread would wait for them."""
_NEWEST_WEIGHT = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What all sources are asked, and until when."""

    people: EligiblePeople
    query: SourceQuery
    deadline: Deadline


@dataclass(slots=True, eq=False)
class Answers:
    """Ids by the name of the source, and what failed."""

    found: dict[str, Ids] = field(default_factory=dict)
    failed: dict[str, Degradation] = field(default_factory=dict)


class Sources:
    """A source that fails is named, and the others serve.

    Those of others get threads of their own, at most two at once each, since they may hang. Ours do not, and take turns: on one
    core, five hops took as long as the two quickest sources. Should one of them hang all the same, each gets its own thread for
    as long as it does.
    """

    def __init__(self, sources: Sequence[NamedSource], door: ThreadDoor, breakers: Breakers) -> None:
        self._sources: Mapping[str, CandidateSource] = {named.name: named.source for named in sources}
        self._own = sorted(named.name for named in sources if named.own)
        self._door = door
        self._breakers = breakers
        self._n_lanes = min(MOST_LANES, door.n_cores)
        self._took_s = dict.fromkeys(self._own, 0.0)

    async def ask(self, question: Question) -> Answers:
        """What they find before the deadline. Where they are all ours, who is eligible is found out in the same call of a thread:
        one of its own takes .1 ms."""
        answers = Answers()
        lanes = {} if any(map(self._door.hangs, _KEYS)) else self._lanes()
        alone = [name for name in self._sources if not any(name in lane for lane in lanes.values())]
        if alone or not lanes:
            await prepare(question.people, self._door, question.deadline)
        asking = [self._ask_in_turn(key, lane, question, answers) for key, lane in lanes.items()]
        asking += [self._ask_alone(name, question, answers) for name in alone]
        await (asking[0] if len(asking) == 1 else asyncio.gather(*asking))
        return answers

    async def _ask_alone(self, name: str, question: Question, answers: Answers) -> None:
        source, key = self._sources[name], _key(name)

        async def work() -> Ids:
            if question.deadline.remaining_s() <= 0:
                raise StageBusy  # never asked, as in a lane: it is not to blame for the time that others took
            found = await self._door.call(key, source.find, question.people, question.query, deadline=question.deadline)
            return told(checked(found, question.query.k), question)

        try:
            answers.found[name] = await enter(key, self._breakers[key], work)
        except StageFailed as exc:
            answers.failed[name] = Degradation(key, exc.reason, None)

    async def _ask_in_turn(self, key: str, names: Sequence[str], question: Question, answers: Answers) -> None:
        asked = [name for name in names if self._breakers[_key(name)].state != "open"]
        lane = _Lane({name: self._sources[name] for name in asked}, question)
        failure: StageFailed | None = None
        try:
            await self._door.call(key, lane.run, deadline=question.deadline)
        except StageFailed as exc:
            failure = exc
        outcomes, hanging = lane.outcomes.copy(), lane.at
        for name in names:
            if name not in asked:
                self._settle(name, CircuitOpen(), answers)
            elif name in outcomes:
                self._settle(name, outcomes[name], answers)
                self._took_s[name] += _NEWEST_WEIGHT * (lane.took_s[name] - self._took_s[name])
            else:  # the one at work is to blame; those behind it were never asked
                self._settle(name, failure if failure is not None and name == hanging else StageBusy(), answers)
        timings = current_timings()
        for stage_name, ms in lane.timings.copy().items():
            timings[stage_name] = timings.get(stage_name, 0.0) + ms

    def _settle(self, name: str, outcome: Ids | StageFailed, answers: Answers) -> None:
        key = _key(name)
        try:
            if isinstance(outcome, CircuitOpen):
                raise outcome
            with self._breakers[key].guard(StageFailed):
                if isinstance(outcome, StageFailed):
                    raise outcome
                answers.found[name] = outcome
        except StageFailed as exc:
            answers.failed[name] = Degradation(key, exc.reason, None)

    def _lanes(self) -> dict[str, list[str]]:
        """Our own by thread: the slowest first to whichever has least to do, and within a thread the quick ones first, so that
        they have answered whatever becomes of the others."""
        loads_s = [0.0] * self._n_lanes
        lanes: list[list[str]] = [[] for _ in loads_s]
        for name in sorted(self._own, key=lambda name: (-self._took_s[name], name)):
            least = min(range(self._n_lanes), key=lambda lane: (loads_s[lane], len(lanes[lane])))
            loads_s[least] += self._took_s[name]
            lanes[least].insert(0, name)
        return {key: lane for key, lane in zip(_KEYS, lanes, strict=False) if lane}


class _Lane:
    """Some sources asked one after another in a thread. Whoever waits may leave before its end and takes what is there: hence
    timings of its own, which nobody else reads while they grow."""

    def __init__(self, sources: Mapping[str, CandidateSource], question: Question) -> None:
        self._sources = sources
        self._question = question
        self.outcomes: dict[str, Ids | StageFailed] = {}
        self.took_s: dict[str, float] = {}
        self.timings: dict[str, float] = {}
        self.at: str | None = None

    def run(self) -> None:
        self.timings = collect_timings()
        question = self._question
        question.people.prepare()
        for name, source in self._sources.items():
            if question.deadline.remaining_s() <= 0:
                return
            self.at, started_s = name, time.perf_counter()
            outcome = outcome_of(_key(name), partial(_found, source, question))
            self.took_s[name] = time.perf_counter() - started_s
            self.outcomes[name] = outcome
        self.at = None


async def prepare(people: EligiblePeople, door: ThreadDoor, deadline: Deadline) -> None:
    """Find out who is eligible, in a thread where there are so many people that it takes a while. Where no thread comes free in
    time, whoever asks first finds out: .5 ms for a million people."""
    if not people.is_prepared:
        with suppress(StageFailed):
            await door.call("mask", people.prepare, deadline=deadline)


def _found(source: CandidateSource, question: Question) -> Ids:
    return told(checked(source.find(question.people, question.query), question.query.k), question)


def told(ids: Ids, question: Question) -> Ids:
    """The same ids, counted in the source's span."""
    tell({"amity.n_asked": question.query.k, "amity.n_found": len(ids)})
    return ids


def checked(found: Found, k: int) -> Ids:
    """The ids that a source returned, at most k. Raises StageBroken when they are no ids."""
    ids = np.asarray(found.ids)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise StageBroken("a source returned no one-dimensional array of integers")
    return ids[:k].astype(np.int64)


_KEYS = tuple(f"sources.{place}" for place in range(MOST_LANES))


def _key(name: str) -> str:
    return f"source:{name}"
