"""Three replicas on fakes, through which all that can happen happens in random order: no answer breaks a rule."""

import random
import time
from typing import Any

import msgspec
import numpy as np
import pytest

from service.domain import Filters, Kind, Profile, RecommendationRequest, Relations, Status
from service.recommend.eligibility import ineligible_reason
from service.recommend.ports import Replaced
from service.repositories.columns import CODES
from tests.fakes import FakeSource, World, person

N_PEOPLE = 60
SIDES = {Kind.LIKE: ("liked", "liked_by"), Kind.PASS: ("passed", "passed_by"), Kind.BLOCK: ("blocked", "blocked")}
UNDONE = {Kind.UNLIKE: Kind.LIKE, Kind.UNPASS: Kind.PASS, Kind.UNBLOCK: Kind.BLOCK}
QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"limit": 3},
    {"exclude_seen": False},
    {"filters": Filters(min_age=25)},
    {"exclude_ids": frozenset({59, 60})},
)


class Fleet(World):
    """Viewer 1 and many others. Where Redis has not taken a write's tokens, the feed tells of it before the next read, as the
    bound for that case allows; where it has, some time later. Nobody hears of profiles while news is not live."""

    def __init__(self, seed: int) -> None:
        super().__init__((person(one, age=20 + one % 30) for one in range(1, N_PEOPLE + 1)), explore=FakeSource())
        self.random = random.Random(seed)
        self.replicas = []
        for _ in range(3):
            orchestrator = self.build()
            self.replicas.append((orchestrator, self.first, self.renewals))
        self.unheard: list[tuple[int, int, Kind]] = []
        self.n_ready = self.n_cached = 0

    async def read(self) -> None:
        orchestrator, _, _ = self.random.choice(self.replicas)
        request = RecommendationRequest(**{"viewer_id": 1, "limit": 10, **self.random.choice(QUESTIONS)})
        ready = await orchestrator.ready(request)
        if ready is not None:
            self.n_ready += 1
            shown = msgspec.json.decode(ready.body)["recommendations"]
        else:
            slate = await orchestrator.recommend(request)
            self.n_cached += slate.cached
            shown = msgspec.to_builtins(slate)["recommendations"]
            assert slate.degraded == ()
        viewer, relations, now = self.database.people[1], self.database.known_relations, self.clock.now()
        for one in shown:
            profile = self.database.people[one["id"]]
            assert ineligible_reason(viewer, profile, relations, request, now) is None, one["id"]
            assert one["bio"] == profile.bio
        fine = (ineligible_reason(viewer, other, relations, request, now) is None for other in self.database.people.values())
        assert len(shown) == min(request.limit, sum(fine))

    async def interact(self) -> None:
        other, kind = self.random.choice(sorted(set(self.database.people) - {1})), self.random.choice([*SIDES, *UNDONE])
        direction = self.random.randrange(2)
        side = SIDES[UNDONE.get(kind, kind)][direction]
        sides = {name: set(getattr(self.database.known_relations, name)) for name in Relations.__struct_fields__}
        if kind in UNDONE:
            sides[side].discard(other)
        else:
            sides[side].add(other)
        self.database.known_relations = self.memory.known_relations = Relations(**{k: frozenset(v) for k, v in sides.items()})
        self.unheard.append((1, other, kind) if direction == 0 else (other, 1, kind))
        took = await self.replace_tokens(1, other)
        if kind in UNDONE:
            await self.redis.drop_pools([1, other])
        if not took:
            await self.hear()

    async def replace_tokens(self, *people: int) -> bool:
        """Whether Redis took it, which it does not always do though it answers reads."""
        return self.random.random() < 0.7 and await self.redis.changed(people)

    async def hear(self) -> None:
        if not self.unheard:
            return
        actors, targets, kinds = zip(*self.unheard, strict=True)
        codes = np.array([CODES[kind] for kind in kinds], np.int8)
        for _, first, _ in self.replicas:
            first.heard(np.array(actors, np.int64), np.array(targets, np.int64), codes)
        self.unheard.clear()

    async def edit(self) -> None:
        who = self.random.choice(sorted(self.database.people))
        changes: dict[str, Any] = self.random.choice(
            (
                {"bio": f"bio {self.random.random()}"},
                {"status": self.random.choice(list(Status))} if who != 1 else {"name": "Viewer"},
                {"age": self.random.randint(20, 60)},
                {"seeks_min_age": self.random.choice((None, 25, 40))},
            )
        )
        await self._commit(msgspec.structs.replace(self.database.people[who], **changes))

    async def replace(self) -> None:
        """Erase somebody, and give the id to somebody new."""
        related = self.database.known_relations.passed | self.database.known_relations.blocked
        who = self.random.choice(sorted(related or set(self.database.people) - {1}))
        before = self.database.people.pop(who)
        sides = {name: getattr(self.database.known_relations, name) - {who} for name in Relations.__struct_fields__}
        self.database.known_relations = self.memory.known_relations = Relations(**sides)
        del self.memory.people[who]
        await self.redis.changed([who])
        for _, first, _ in self.replicas:
            first.erased([who])
        self.unheard = [event for event in self.unheard if who not in event[:2]]
        await self._commit(person(who, bio="somebody new", incarnation=before.incarnation + 1))

    async def _commit(self, profile: Profile) -> None:
        self.database.people[profile.id] = self.memory.people[profile.id] = profile
        took = await self.replace_tokens(profile.id)
        if self.news_live or not took:
            for _, first, _ in self.replicas:
                first.changed([profile.id])

    async def pass_time(self) -> None:
        self.clock.elapsed_s += self.random.choice((1.0, 15.0, 400.0))

    async def renew(self) -> None:
        await self.random.choice(self.replicas)[2].drain()

    async def swap(self) -> None:
        before, self.memory.bundle_version = self.memory.bundle_version, f"b{self.random.randrange(10**6)}"
        self.replaced = Replaced(before, time.monotonic())

    async def disturb(self) -> None:
        what = self.random.choice(("away", "back", "back", "back", "news", "news", "news", "no news", "flush", "refresh"))
        if what in ("away", "back"):
            self.redis.away = what == "away"
        elif what in ("news", "no news"):
            self.news_live = what == "news"
            for _, first, _ in self.replicas:
                first.lost()
        elif what == "flush":
            self.redis.values.clear()
        else:
            await self.redis.drop_pools([1])

    async def storm(self) -> None:
        """400 steps, in the end without threads."""
        steps = (self.read, self.interact, self.hear, self.edit, self.replace, self.pass_time, self.renew, self.swap)
        for _ in range(400):
            await self.random.choices((*steps, self.disturb), (100, 8, 4, 5, 1, 3, 4, 1, 2))[0]()
        self.door.close()


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_in_whatever_order_no_answer_breaks_a_rule(seed: int) -> None:
    fleet = Fleet(seed)
    await fleet.storm()
    assert fleet.n_cached > 10
    assert fleet.n_ready > 0
