"""A crowd that writes and reads through all replicas of a fleet at once, and holds every answer to the model."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from tests.faults.fleet_model import FEED_S, NEWS_S, Fact, Model, Question, Read, Write
from tests.faults.fleet_weather import Weather
from tests.faults.fleet_wire import Lag, Reply, Wire
from tests.faults.fleet_writes import Writes
from tests.faults.rules import Rules

N_VIEWERS, N_WRITERS, N_READERS = 12, 6, 2
LAGS, TRIPS = 2, 4
"""How many times the longest request for nothing may be added to the time of news, which passes two loops, Redis's and the
replica's; and how many times the longest look into the database to the feed's time, which takes up to four: what is new, whose
it is, what of it stands, what is newer. The feed waits for running transactions besides: the longest write."""
LOOKED_BACK_S = 1.5
NOT_FOUND = "could not be found right now"
WAITED_SHARE = 0.25
"""Of the writes that are heeded after a second only, those that are waited for."""


class Crowd:
    """Trials: each one write through a random replica, and reads through others at once and when its bound has passed. Beside
    them others read whatever they like. `judged` counts the answers."""

    def __init__(self, addresses: Sequence[tuple[str, int]], rules: Rules, seed: int) -> None:
        self.model = Model(rules)
        self.weather = Weather()
        self.judged: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.viewers = self.random.sample(sorted(rules.people), N_VIEWERS)
        self.writes = Writes(self.model, self.viewers, self.random)
        self._wires = [Wire(address) for address in addresses]
        self._loops = [Lag(wire, "/health/live", 0.02) for wire in self._wires]
        self._databases = [Lag(wire, f"/api/v1/users/{self.viewers[0]}", 0.05) for wire in self._wires]
        self._took_to_write: deque[tuple[float, float]] = deque(maxlen=N_WRITERS * 20)
        self._left = 0
        self._ages = sorted(person["age"] for person in rules.people.values() if person["age"] is not None)
        self._words = sorted({word for person in rules.people.values() for word in person["interests"]})
        self._usual = {viewer: [self._question(viewer) for _ in range(2)] for viewer in self.viewers}

    async def run(self, n_trials: int) -> None:
        """So many trials. Raises AssertionError for the first answer that breaks a rule."""
        self._left = n_trials
        async with AsyncExitStack() as stack:
            for wire in self._wires:
                await stack.enter_async_context(wire)
            beside = [asyncio.create_task(lag.run()) for lag in (*self._loops, *self._databases)]
            beside += [asyncio.create_task(self._read_on()) for _ in range(N_READERS)]
            trying = [asyncio.create_task(self._try_on()) for _ in range(N_WRITERS)]
            try:
                await _first_failure(trying, beside)
            finally:
                self._left = 0
                await asyncio.gather(*trying, return_exceptions=True)  # to the end of their writes, or the next would not know
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)

    async def _try_on(self) -> None:
        while self._left > 0:
            self._left -= 1
            await self._trial()

    async def _read_on(self) -> None:
        while True:
            viewer = self.random.choice(self.viewers)
            if self.random.random() < 0.15:
                await self._read_similar(viewer)
            else:
                await self._read(self.random.choice([self._question(viewer), *self._usual[viewer]]))

    async def _trial(self) -> None:
        planned = self.writes.plan()
        if planned is None:
            return
        writer = self._any_replica()
        with self.writes.holding(planned):
            begun = [fact.begin(value, time.monotonic()) for fact, value in planned.facts()]
            reply = await self._wires[writer].ask(planned.method, planned.path, planned.body)
            self._acknowledged(begun, writer, reply)
            planned.conclude(reply)
        self.judged[f"write {planned.what}"] += 1
        viewer = self._who_sees(planned.people)
        await self._read(self.random.choice(self._usual[viewer]), but=writer)
        bound_s = max([NEWS_S, *(write.bound_s for write in begun)])
        if planned.is_of_pair or (bound_s > NEWS_S and self.random.random() > WAITED_SHARE):
            return
        await self._passed(reply.ended_s + bound_s, bound_s > NEWS_S)
        await self._read(self.random.choice(self._usual[viewer]), but=writer)
        await self._read_similar(viewer)
        if planned.what == "erase":
            await self._read(Question(planned.people[0], 20))

    def _acknowledged(self, begun: Sequence[Write], writer: int, reply: Reply) -> None:
        self._took_to_write.append((reply.begun_s, reply.ended_s))
        told = self.weather.told(writer, reply.begun_s, reply.ended_s)
        for write in begun:
            write.ended_s = reply.ended_s
            write.bound_s = 0.0 if told else FEED_S

    def _who_sees(self, people: Sequence[int]) -> int:
        """A viewer whom a write about these people concerns."""
        themselves = [person for person in people if person in self.viewers]
        seen_by = [viewer for viewer in self.viewers if self.writes.saw[viewer] & set(people)]
        return self.random.choice(themselves or seen_by or self.viewers)

    async def _passed(self, moment_s: float, by_feed: bool) -> None:
        now_s = time.monotonic()
        ahead_s = moment_s + (self._feed_lag_s(now_s) if by_feed else self._lag_s(now_s)) - now_s
        if ahead_s > 0:
            await asyncio.sleep(ahead_s + 0.001)
            await self._passed(moment_s, by_feed)  # the lag may have grown meanwhile

    async def _read(self, question: Question, but: int | None = None) -> None:
        replica = self._any_replica(but)
        reply = await self._wires[replica].recommend(question.viewer_id, **question.query)
        read = self._read_of(reply, replica)
        if not self._answered(question.viewer_id, reply, read, question):
            return
        answer = reply.body
        people = answer["recommendations"]
        ids, scores = [person["id"] for person in people], [person["match_score"] for person in people]
        about = (replica, question, {name: value for name, value in answer.items() if name != "recommendations"})
        assert answer["degraded"] == [], about
        assert len(set(ids)) == len(ids) == answer["total_count"] <= question.limit, (ids, about)
        assert scores == sorted(scores, reverse=True), (scores, about)
        assert not scores or (scores[0] <= 1 and scores[-1] >= 0), (scores, about)
        for person in people:
            broken = self.model.broken_rule(question, person["id"], read) if person["id"] != question.viewer_id else "self"
            assert broken is None, f"{person['id']} breaks {_history(broken, read)} in {about}"
            self._check_fields(person, read, about)
        if len(ids) < question.limit:
            self._check_short(question, answer, read, about)
        self.writes.saw[question.viewer_id] = set(ids)
        self.judged["from a pool" if answer["cached"] else "computed"] += 1

    async def _read_similar(self, person_id: int) -> None:
        replica = self._any_replica()
        reply = await self._wires[replica].get(f"/api/v1/recommendations/users/{person_id}/similar", limit=50)
        read = self._read_of(reply, replica)
        if not self._answered(person_id, reply, read, replica):
            return
        for person in reply.body["similar"]:
            assert person["id"] != person_id
            rules = list(self.model.rules_of_showing(Question(person_id, 50), person["id"]))[:4]
            broken = next((rule for rule in rules if not rule.may_hold(read)), None)
            assert broken is None, f"{person['id']} is similar to {person_id} and breaks {_history(broken, read)}"
            self._check_fields(person, read, replica)
        self.judged["similar"] += 1

    def _read_of(self, reply: Reply, replica: int) -> Read:
        alone = self.weather.alone(replica, reply.begun_s, reply.ended_s)
        return Read(
            begun_s=reply.begun_s,
            ended_s=reply.ended_s,
            lag_s=self._lag_s(reply.begun_s),
            feed_lag_s=self._feed_lag_s(reply.begun_s),
            late_until_s=self.weather.late_until_s(replica),
            alone=alone,
        )

    def _answered(self, person_id: int, reply: Reply, read: Read, about: Any) -> bool:
        """A 200 for somebody who is there and a 404 for nobody; while that changes either. Whether there is an answer."""
        there = self.model.people[person_id]["exists"].possible(read)
        assert reply.status in {200 if exists else 404 for exists in there}, (reply, there, about)
        return reply.status == 200

    def _check_fields(self, person: dict[str, Any], read: Read, about: Any) -> None:
        stale = self.model.stale_field(person, read)
        assert stale is None, f"{stale} of {person}: {_times(self.model.people[person['id']][stale], read)} in {about}"

    def _check_short(self, question: Question, answer: dict[str, Any], read: Read, about: Any) -> None:
        """Nobody is lost: a short list has everyone, or says that it has not, which is seldom. Counting takes 5 ms, so not each
        time."""
        if self.random.random() < 0.3:
            lost = self.model.surely_eligible(question, read) - {person["id"] for person in answer["recommendations"]}
            self.judged["admittedly short" if lost else "short"] += 1
            assert not lost or NOT_FOUND in answer["message"], (lost, about, read)

    def _question(self, viewer: int) -> Question:
        draw = self.random
        filters: dict[str, Any] = {}
        match draw.randrange(8):
            case 0:
                filters["min_age"], filters["max_age"] = sorted(draw.sample(self._ages, 2))
            case 1:
                filters["interests"] = draw.sample(self._words, 2)
            case 2:
                filters["gender"] = ["female"]
            case 3 if self.model.people[viewer]["place"].newest:
                filters["max_km"] = draw.choice((5.0, 20.0, 100.0))
            case 4:
                filters["exclude_ids"] = draw.sample(sorted(self.model.people), 30)
        return Question(viewer, draw.choice((5, 20, 100, 100)), draw.random() < 0.7, filters)

    def _any_replica(self, but: int | None = None) -> int:
        return self.random.choice([index for index in range(len(self._wires)) if index != but])

    def _lag_s(self, now_s: float) -> float:
        return LAGS * max(lag.longest_s(now_s - LOOKED_BACK_S, now_s) for lag in self._loops)

    def _feed_lag_s(self, now_s: float) -> float:
        since_s = now_s - LOOKED_BACK_S - FEED_S
        looks_s = TRIPS * max(lag.longest_s(since_s, now_s) for lag in self._databases)
        return looks_s + max((ended - begun for begun, ended in self._took_to_write if ended >= since_s), default=0.0)


async def _first_failure(trying: list[asyncio.Task[None]], beside: list[asyncio.Task[None]]) -> None:
    """Wait until all of `trying` have ended, or any task has failed."""
    everyone = set(trying) | set(beside)
    while not all(task.done() for task in trying):
        done, everyone = await asyncio.wait(everyone, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def _times(fact: Fact, read: Read) -> list[str]:
    """The last writes of a fact, their begin and end in ms from the beginning of the read."""
    return [
        f"{w.value!r} from {(w.begun_s - read.begun_s) * 1000:.1f} to {(w.ended_s - read.begun_s) * 1000:.1f}, in {w.bound_s} s"
        for w in fact.writes[-4:]
    ]


def _history(broken: Any, read: Read) -> str:
    if isinstance(broken, str):
        return broken
    took_ms, lag_ms = (read.ended_s - read.begun_s) * 1000, (read.lag_s * 1000, read.feed_lag_s * 1000)
    told = " | ".join("; ".join(_times(fact, read)) for fact in broken.facts)
    return f"'{broken.name}' (answered in {took_ms:.1f} ms, lags {lag_ms} ms): {told}"
