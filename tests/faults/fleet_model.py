"""What may be shown when: every fact as the writes that were made of it, each with the moments of its request and its reply.

A read may show what any write left that was begun before the read had ended, but for those that another write has replaced:
one that was begun after they were acknowledged, and that was itself acknowledged a bound before the read began. So reads that
overlap a write may show either, and those that begin the bound after its reply must heed it.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.rules import HIDING, Pair, Rules, age_suits, gender_suits, km_between, km_suits, place_of

NEWS_S = 0.020
"""What the interface promises of profiles while Redis carries the news of them."""
FEED_S = 1.0
"""And while it does not, or when it lost some."""

SHOWN = ("name", "age", "gender", "location", "bio")
"""Fields that an answer shows as they are."""

REMEMBERED = 40
"""Writes of one fact, which come one after another: more than there can be during one read."""

Values = tuple[Any, ...]


@dataclass(slots=True)
class Write:
    """`ended_s` is infinite while there is no reply. `bound_s`: from when on after the reply every read heeds it."""

    value: Any
    begun_s: float = -math.inf
    ended_s: float = -math.inf
    bound_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Read:
    """One answer's time. `lag_s` is what the machine may add to the time that news takes, `feed_lag_s` to the feed's;
    `late_until_s`: of what was written up to then the reader may have missed the news, and has the feed's time for it. `alone`:
    without Redis from its beginning to its end, so that it must have asked the database."""

    begun_s: float
    ended_s: float
    lag_s: float
    feed_lag_s: float
    late_until_s: float = -math.inf
    alone: bool = False


class Fact:
    """One value and its writes in the order in which they were begun. `at_once`: a write is heeded by the next request."""

    __slots__ = ("at_once", "writes")

    def __init__(self, value: Any, at_once: bool) -> None:
        self.at_once = at_once
        self.writes = [Write(value)]

    def begin(self, value: Any, begun_s: float) -> Write:
        del self.writes[:-REMEMBERED]
        self.writes.append(Write(value, begun_s, math.inf))
        return self.writes[-1]

    @property
    def newest(self) -> Any:
        return self.writes[-1].value

    def possible(self, read: Read, least_s: float = 0.0) -> Values:
        """The values that the read may rest on. `least_s`: a bound for facts that are not heeded at once, where it is longer."""
        if len(self.writes) == 1:
            return (self.writes[0].value,)
        heeded = [write.begun_s for write in self.writes if write.ended_s + self._bound_s(write, read, least_s) <= read.begun_s]
        replaced_s = max(heeded)
        return tuple(w.value for w in self.writes if w.begun_s <= read.ended_s and not -math.inf < replaced_s >= w.ended_s)

    def _bound_s(self, write: Write, read: Read, least_s: float) -> float:
        if write.ended_s == -math.inf:
            return 0.0
        if self.at_once:
            return write.bound_s + read.feed_lag_s if write.bound_s and not read.alone else 0.0
        late_s = FEED_S if write.begun_s <= read.late_until_s else NEWS_S
        bound_s = max(write.bound_s, least_s, late_s)
        return bound_s + (read.lag_s if bound_s == NEWS_S else read.feed_lag_s)


def _person_facts(person: Mapping[str, Any]) -> dict[str, Fact]:
    names = ("status", "gender", "age", "seeks_genders", "seeks_max_km", "bio", "name", "location", "interests")
    values = {name: person[name] for name in names}
    values |= {"exists": True, "place": place_of(person), "seeks_ages": (person["seeks_min_age"], person["seeks_max_age"])}
    return {name: Fact(value, at_once=False) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for; `filters` by the names of the interface."""

    viewer_id: int
    limit: int
    exclude_seen: bool = True
    filters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, Any]:
        return {"limit": self.limit, "exclude_seen": self.exclude_seen, **self.filters}


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that must be so for a candidate to be shown."""

    name: str
    facts: tuple[Fact, ...]
    holds: Callable[..., bool]

    def may_hold(self, read: Read) -> bool:
        return any(itertools.starmap(self.holds, itertools.product(*(fact.possible(read) for fact in self.facts))))

    def surely_holds(self, read: Read, least_s: float) -> bool:
        return all(itertools.starmap(self.holds, itertools.product(*(fact.possible(read, least_s) for fact in self.facts))))


class Model:
    """Everyone's facts over time. `rules` is how things stand after the writes that were acknowledged."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.people = {person_id: _person_facts(person) for person_id, person in rules.people.items()}
        self._pairs: dict[tuple[str, int, int], Fact] = {}
        self._opinions, self._blocks = dict(rules.opinions), set(rules.blocks)

    def opinion(self, pair: Pair) -> Fact:
        return self._pairs.setdefault(("opinion", *pair), Fact(self._opinions.get(pair), at_once=True))

    def block(self, pair: Pair) -> Fact:
        return self._pairs.setdefault(("block", *pair), Fact(pair in self._blocks, at_once=True))

    def of_pairs_with(self, person_id: int) -> Iterator[tuple[Fact, Any]]:
        """The facts between this person and others, and what they are between strangers."""
        for one, other in itertools.chain(list(self._opinions), list(self._blocks)):
            if person_id in (one, other):
                self.opinion((one, other))
                self.block((one, other))
        for (kind, *pair), fact in self._pairs.items():
            if person_id in pair:
                yield fact, None if kind == "opinion" else False

    def rules_of_showing(self, question: Question, candidate_id: int) -> Iterator[Rule]:
        viewer_id, candidate = question.viewer_id, self.people[candidate_id]
        both, back = (viewer_id, candidate_id), (candidate_id, viewer_id)
        yield Rule("exists", (candidate["exists"],), bool)
        yield Rule("is active", (candidate["status"],), lambda status: status == "active")
        yield Rule("not blocked", (self.block(both),), _not)
        yield Rule("has not blocked", (self.block(back),), _not)
        yield Rule("has not passed", (self.opinion(back),), lambda opinion: opinion not in HIDING)
        if question.exclude_seen:
            yield Rule("not seen", (self.opinion(both),), _not)
        viewer = self.people[viewer_id]
        for whose, seeker, other in (("viewer", viewer, candidate), ("candidate", candidate, viewer)):
            yield Rule(f"gender that the {whose} seeks", (seeker["seeks_genders"], other["gender"]), gender_suits)
            yield Rule(f"age that the {whose} seeks", (seeker["seeks_ages"], other["age"]), age_suits)
            yield Rule(f"near enough for the {whose}", (seeker["seeks_max_km"], viewer["place"], candidate["place"]), km_suits)
        yield from _filters(question.filters, viewer, candidate)
        if candidate_id in question.filters.get("exclude_ids", ()):
            yield Rule("not excluded", (), lambda: False)

    def broken_rule(self, question: Question, candidate_id: int, read: Read) -> Rule | None:
        """A rule that cannot have held whatever the read rests on; None when the candidate may be shown."""
        return next((rule for rule in self.rules_of_showing(question, candidate_id) if not rule.may_hold(read)), None)

    def surely_eligible(self, question: Question, read: Read) -> set[int]:
        """Those whom nothing keeps away for long enough that memory knows them, too: the feed's time, with Redis or without."""
        everyone = (who for who in self.people if who != question.viewer_id)
        rules = self.rules_of_showing
        return {who for who in everyone if all(rule.surely_holds(read, FEED_S) for rule in rules(question, who))}

    def stale_field(self, person: Mapping[str, Any], read: Read) -> str | None:
        """The first field of somebody shown that is not as it was, at any moment that the read may rest on."""
        facts = self.people[person["id"]]
        return next((name for name in SHOWN if person[name] not in facts[name].possible(read)), None)


def _not(value: Any) -> bool:
    return not value


def _filters(filters: Mapping[str, Any], viewer: Mapping[str, Fact], candidate: Mapping[str, Fact]) -> Iterator[Rule]:
    """What the request itself asks for; something unknown fails it."""
    if "min_age" in filters or "max_age" in filters:
        low, high = filters.get("min_age", 0), filters.get("max_age", 999)
        yield Rule("age filter", (candidate["age"],), lambda age: age is not None and low <= age <= high)
    for name in ("gender", "location"):
        if name in filters:
            wanted = {value.lower() for value in filters[name]}
            yield Rule(f"{name} filter", (candidate[name],), lambda value, w=wanted: value is not None and value.lower() in w)
    if "interests" in filters:
        liked = {value.lower() for value in filters["interests"]}
        yield Rule("interests filter", (candidate["interests"],), lambda found: bool(liked & {one.lower() for one in found}))
    if "max_km" in filters:
        max_km = filters["max_km"]
        places = (viewer["place"], candidate["place"])
        yield Rule("distance filter", places, lambda a, b: bool(a and b and km_between(a, b) <= max_km))
