"""What a crowd does to one another and to themselves: one write at a time of each fact, and many at once of different ones."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.fleet_model import Fact, Model
from tests.faults.fleet_wire import Reply
from tests.faults.rules import Pair

BODY_FIELDS = ("name", "age", "gender", "location", "bio", "status")
FOR_VIEWERS = ("bio", "seeks_genders", "seeks_ages", "seeks_max_km", "age")
FIELDS = (*FOR_VIEWERS, "status", "status", "gender", "place", "seeks_genders")
CHOICES: dict[str, tuple[Any, ...]] = {
    "status": ("active", "paused", "banned"),
    "gender": (None, "nobody's", "female", "male"),
    "age": (None, 20, 30, 40, 55),
    "place": (None,),
    "seeks_genders": ((), ("woman", "Female"), ("male", "man")),
    "seeks_ages": ((None, None), (None, 30), (18, 45), (30, 60)),
    "seeks_max_km": (None, 5.0, 50.0),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One write. `keys` are what it alone may write meanwhile; `conclude` takes the reply into the rules, and checks it."""

    what: str
    people: tuple[int, ...]
    keys: tuple[Any, ...]
    method: str
    path: str
    body: Any
    facts: Callable[[], list[tuple[Fact, Any]]]
    conclude: Callable[[Reply], None]

    @property
    def is_of_pair(self) -> bool:
        return self.what in ("opinion", "block")


class Writes:
    """Plans writes of people who are there, half of them such that they undo others, so that a world is not used up."""

    def __init__(self, model: Model, viewers: Sequence[int], draw: random.Random) -> None:
        self.saw: dict[int, set[int]] = {viewer: set() for viewer in viewers}
        self._model = model
        self._rules = model.rules
        self._viewers = viewers
        self._draw = draw
        self._original = {person_id: dict(facts) for person_id, facts in self._rules.people.items()}
        self._touched: set[tuple[int, str]] = set()
        self._pairs: set[Pair] = set()
        self._held: set[Any] = set()
        self._busy: dict[int, int] = {}
        self._gone: set[int] = set()
        self._written = 0

    @contextlib.contextmanager
    def holding(self, planned: Planned) -> Iterator[None]:
        """Nobody else writes the same facts meanwhile."""
        self._held.update(planned.keys)
        for person in planned.people:
            self._busy[person] = self._busy.get(person, 0) + 1
        yield
        self._held.difference_update(planned.keys)
        for person in planned.people:
            self._busy[person] -= 1

    def plan(self) -> Planned | None:
        """Something to write, or None when what was drawn cannot be written just now."""
        plans = (self._opinion, self._block, self._edit, self._undo_edit, self._lift, self._erase, self._return)
        drawn = self._draw.choices(plans, (32, 8, 22, 16, 16, 2, 4))[0]()
        return None if drawn is None or self._held.intersection(drawn.keys) else drawn

    def _other(self, viewer: int) -> int | None:
        others = [person for person in sorted(self.saw[viewer]) or self._viewers if person in self._rules.people]
        other = self._draw.choice(others) if others else viewer
        return None if other == viewer else other

    def _opinion(self) -> Planned | None:
        viewer = self._draw.choice(self._viewers)
        other = self._other(viewer)
        if other is None:
            return None
        kind = self._draw.choice(("like", "like", "like", "pass", "pass", "unlike", "unpass", "unmatch"))
        return self._act((viewer, other) if self._draw.random() < 0.6 else (other, viewer), kind)

    def _block(self) -> Planned | None:
        viewer = self._draw.choice(self._viewers)
        other = self._other(viewer)
        if other is None:
            return None
        return self._act((viewer, other) if self._draw.random() < 0.6 else (other, viewer), "block")

    def _lift(self) -> Planned | None:
        """Withdraw something that stands."""
        standing = [pair for pair in sorted(self._pairs) if all(person in self._rules.people for person in pair)]
        if not standing:
            return None
        pair = self._draw.choice(standing)
        if pair in self._rules.blocks:
            return self._act(pair, "unblock")
        opinion = self._rules.opinions.get(pair)
        if opinion is None:
            self._pairs.discard(pair)
            return None
        return self._act(pair, "unlike" if opinion == "like" else "unpass")

    def _act(self, pair: Pair, kind: str) -> Planned:
        actor, target = pair
        is_block = kind in ("block", "unblock")
        both = (min(pair), max(pair))
        self._pairs.add(pair)

        def facts() -> list[tuple[Fact, Any]]:
            if is_block:
                return [(self._model.block(pair), kind == "block")]
            standing = self._rules.opinions.get(pair)
            if kind in ("like", "pass") or (kind == "unmatch" and both in self._rules.matches):
                return [(self._model.opinion(pair), kind)]
            lifted = standing == "like" if kind == "unlike" else kind == "unpass" and standing in ("pass", "unmatch")
            return [(self._model.opinion(pair), None)] if lifted else []

        def conclude(reply: Reply) -> None:
            if not all(person in self._rules.people for person in pair):  # erased meanwhile: recorded before it, or refused
                assert reply.status in (201, 422), reply
                return
            assert reply.status == 201, reply
            fresh = {both} - self._rules.matches
            changed = self._rules.act(actor, target, kind)
            assert (reply.body["recorded"], reply.body["repeated"]) == (int(changed), int(not changed)), (pair, kind, reply)
            assert {tuple(match) for match in reply.body["matches"]} == fresh & self._rules.matches, (pair, kind, reply)

        body = {"interactions": [{"actor_id": actor, "target_id": target, "kind": kind}]}
        what = "block" if is_block else "opinion"
        return Planned(what, pair, (both,), "POST", "/api/v1/interactions", body, facts, conclude)

    def _edit(self) -> Planned | None:
        viewer = self._draw.choice(self._viewers)
        person = self._other(viewer) if self._draw.random() < 0.85 else viewer
        if person is None or person not in self._rules.people:
            return None
        field = self._draw.choice(FOR_VIEWERS if person in self._viewers else FIELDS)
        self._written += 1
        value = f"bio {self._written} of {person}" if field == "bio" else self._draw.choice(CHOICES[field])
        self._touched.add((person, field))
        return self._patch(person, field, value)

    def _undo_edit(self) -> Planned | None:
        touched = [(person, field) for person, field in sorted(self._touched) if person in self._rules.people]
        if not touched:
            return None
        person, field = self._draw.choice(touched)
        self._touched.discard((person, field))
        original = self._original[person]
        return self._patch(person, field, "active" if field == "status" else _value(original, field))

    def _patch(self, person: int, field: str, value: Any) -> Planned:
        changes = _body(field, value)

        def conclude(reply: Reply) -> None:
            if person not in self._rules.people:  # erased meanwhile
                assert reply.status in (200, 404), reply
                return
            assert reply.status == 200, reply
            assert all(_plain(reply.body[name]) == _plain(given) for name, given in changes.items()), (changes, reply)
            self._rules.people[person] |= changes

        path = f"/api/v1/users/{person}"
        facts = [(self._model.people[person][field], value)]
        return Planned("edit", (person,), ((person, field),), "PATCH", path, changes, lambda: facts, conclude)

    def _erase(self) -> Planned | None:
        person = self._other(self._draw.choice(self._viewers))
        if person is None or person in self._viewers:
            return None
        of_pairs = [(fact, value) for fact, value in self._model.of_pairs_with(person)]

        def facts() -> list[tuple[Fact, Any]]:
            self._rules.erase(person)
            return [(self._model.people[person]["exists"], False), *of_pairs]

        def conclude(reply: Reply) -> None:
            assert reply.status == 204, reply
            self._gone.add(person)

        return Planned("erase", (person,), (person,), "DELETE", f"/api/v1/users/{person}", None, facts, conclude)

    def _return(self) -> Planned | None:
        """Somebody else under the id of somebody erased."""
        free = [person for person in sorted(self._gone) if not self._busy.get(person)]
        if not free:
            return None
        person = self._draw.choice(free)
        self._written += 1
        new = self._original[person] | {"name": f"Newcomer {self._written}", "bio": f"new {self._written}", "status": "active"}
        names = ("name", "bio", "age", "gender", "location", "latitude", "longitude", "interests")
        body = {name: new[name] for name in (*names, "seeks_genders", "seeks_min_age", "seeks_max_age", "seeks_max_km")}

        def facts() -> list[tuple[Fact, Any]]:
            self._gone.discard(person)
            known = self._model.people[person]
            return [(fact, True if name == "exists" else _value(new, name)) for name, fact in known.items()]

        def conclude(reply: Reply) -> None:
            assert reply.status == 201, reply
            self._rules.people[person] = new

        return Planned("return", (person,), (person,), "PUT", f"/api/v1/users/{person}", body, facts, conclude)


def _value(person: dict[str, Any], field: str) -> Any:
    """A fact as the model has it, of a person as the interface has them."""
    if field == "place":
        return None if person["latitude"] is None else (person["latitude"], person["longitude"])
    if field == "seeks_ages":
        return (person["seeks_min_age"], person["seeks_max_age"])
    return person[field]


def _body(field: str, value: Any) -> dict[str, Any]:
    """And the other way round."""
    if field == "place":
        return {"latitude": None, "longitude": None} if value is None else {"latitude": value[0], "longitude": value[1]}
    if field == "seeks_ages":
        return {"seeks_min_age": value[0], "seeks_max_age": value[1]}
    return {field: value}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
