"""The demo population: made-up people with tastes, for a database that holds nobody."""

from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from service.domain import Kind
from service.errors import OperatorError
from service.repositories.database import Database
from service.repositories.demo import Demo, Population
from service.telemetry import Progress
from service.transfer.demo_acts import KINDS, Acts, draw_acts, mutual_likes
from service.transfer.demo_people import Crowd, draw_crowd, profiles, widen

LEAST_ELIGIBLE = 150
"""Eligible others that everyone has at the start, so that 40 unmet ones are left (demo_acts.LEAST_LEFT) after months of use."""

MOST_PEOPLE = 100_000
"""Making people looks at every pair: 5,000 take 4 s, 100,000 about half an hour."""


class DemoRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`reference` ends the history: nothing is later. The same three make the same people."""

    n_people: int = 5000
    seed: int
    reference: datetime


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the database now; `written` is False when this very demo was there already."""

    n_people: int
    n_interactions: int
    n_matches: int
    seed: int
    written: bool

    def lines(self) -> list[str]:
        if not self.written:
            return [f"the demo population is there already: {self.n_people:,} people, seed {self.seed}"]
        return [f"{self.n_people:,} people, {self.n_interactions:,} interactions, {self.n_matches:,} matches; seed {self.seed}"]


async def fill(database: Database, request: DemoRequest, report: Progress) -> DemoReport:
    """Make the people and write them, all or none. Nothing where this very demo is; raises OperatorError where others are."""
    if not 1 <= request.n_people <= MOST_PEOPLE:
        raise OperatorError(f"a demo population has 1 to {MOST_PEOPLE:,} people")
    fact: dict[str, Any] = {
        "seed": request.seed,
        "n_people": request.n_people,
        "reference": request.reference.isoformat(),
        "complete": True,
    }
    demo = Demo(database.sessions)
    if await demo.is_there(fact):
        return DemoReport(n_people=request.n_people, n_interactions=0, n_matches=0, seed=request.seed, written=False)
    report("Demo: making people", 0, request.n_people)
    population = generate(request)
    report("Demo: making people", request.n_people, request.n_people)
    written = await demo.fill(population, fact, lambda table, done, total: report(f"Demo: writing {table}", done, total))
    return DemoReport(
        n_people=request.n_people,
        n_interactions=len(population.actors),
        n_matches=len(population.matches),
        seed=request.seed,
        written=written,
    )


def generate(request: DemoRequest) -> Population:
    """The whole population, pure: the same request gives the same rows."""
    rng = np.random.default_rng(request.seed)
    crowd = draw_crowd(request.n_people, rng, request.reference)
    widen(crowd, LEAST_ELIGIBLE)
    acts = draw_acts(crowd, rng)
    people = profiles(crowd, rng, _last_seen(crowd, acts))
    low, high, time_s = mutual_likes(crowd.size, acts)
    kinds: list[Kind] = [KINDS[code] for code in acts.kind.tolist()]
    return Population(
        people=people,
        actors=acts.actor + 1,
        targets=acts.target + 1,
        kinds=kinds,
        times_s=acts.time_s.astype(np.int64),
        matches=np.stack([low + 1, high + 1, time_s.astype(np.int64)], axis=1),
    )


def _last_seen(crowd: Crowd, acts: Acts) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds since 1970 of each one's last deed, or of joining, float64 (n,)."""
    last_s = crowd.joined_s.copy()
    np.maximum.at(last_s, acts.actor, acts.time_s)
    return last_s
