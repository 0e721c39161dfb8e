"""Who may be shown to whom, written down a second time from the interface's words: the oracle of random histories."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from service.domain import Interaction, Kind, Profile
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.matches import Matches
from service.repositories.users import Users

EARTH_KM = 6371.0088
WITHDRAWALS = {"unlike": ("like",), "unpass": ("pass", "unmatch")}
OPINIONS = (Kind.LIKE, Kind.PASS, Kind.UNMATCH)
HIDING = ("pass", "unmatch")
"""Opinions that keep their actor from the one they are of."""

Pair = tuple[int, int]
Place = tuple[float, float] | None


class Rules:
    """People, what stands between them, and what follows from it."""

    def __init__(self, people: list[Profile], standing: list[Interaction], matches: set[Pair]) -> None:
        self.people: dict[int, dict[str, Any]] = {person.id: _facts(person) for person in people}
        opinions = {(given.actor_id, given.target_id): given.kind.value for given in standing if given.kind in OPINIONS}
        self.opinions: dict[Pair, str] = opinions
        self.blocks: set[Pair] = {(given.actor_id, given.target_id) for given in standing if given.kind is Kind.BLOCK}
        self.matches = matches

    @classmethod
    async def of(cls, database_url: str) -> "Rules":
        """Of what the database holds."""
        database = Database(database_url)
        try:
            people = [person async for batch in Users(database.sessions).stream() for person in batch]
            standing = [given async for batch in Interactions(database.sessions).stream() for given in batch]
            pages = [(person.id, await Matches(database.sessions).page(person.id, len(people))) for person in people]
        finally:
            await database.close()
        return cls(people, standing, {(low, match.user_id) for low, page in pages for match in page if low < match.user_id})

    def act(self, actor: int, target: int, kind: str) -> bool:
        """Apply an interaction; whether it changed anything."""
        before = self._state(actor, target)
        pair, both = (actor, target), (min(actor, target), max(actor, target))
        standing = self.opinions.get(pair)
        if kind in ("like", "pass") or (kind == "unmatch" and both in self.matches):
            self.opinions[pair] = kind
        elif standing in WITHDRAWALS.get(kind, ()):
            del self.opinions[pair]
        elif kind == "block":
            self.blocks.add(pair)
        elif kind == "unblock":
            self.blocks.discard(pair)
        blocked = self.blocked(actor, target)
        mutual = all(self.opinions.get(way) == "like" for way in (pair, (target, actor)))
        if blocked or not mutual:
            self.matches.discard(both)
        elif kind == "like":  # also one that is said again, after a block that ended the match was lifted
            self.matches.add(both)
        return self._state(actor, target) != before

    def erase(self, person_id: int) -> None:
        del self.people[person_id]
        self.opinions = {pair: kind for pair, kind in self.opinions.items() if person_id not in pair}
        self.blocks = {pair for pair in self.blocks if person_id not in pair}
        self.matches = {pair for pair in self.matches if person_id not in pair}

    def blocked(self, one: int, other: int) -> bool:
        return (one, other) in self.blocks or (other, one) in self.blocks

    def allowed(self, viewer_id: int, exclude_seen: bool = True) -> set[int]:
        """Everyone who may be shown to this viewer."""
        return {candidate for candidate in self.people if self._may_see(viewer_id, candidate, exclude_seen)}

    def _may_see(self, viewer_id: int, candidate_id: int, exclude_seen: bool) -> bool:
        viewer, candidate = self.people[viewer_id], self.people[candidate_id]
        return not (
            viewer_id == candidate_id
            or candidate["status"] != "active"
            or self.blocked(viewer_id, candidate_id)
            or self.opinions.get((candidate_id, viewer_id)) in HIDING
            or (exclude_seen and (viewer_id, candidate_id) in self.opinions)
            or not _is_sought(viewer, candidate)
            or not _is_sought(candidate, viewer)
        )

    def _state(self, actor: int, target: int) -> tuple[str | None, bool]:
        return self.opinions.get((actor, target)), (actor, target) in self.blocks


def _facts(person: Profile) -> dict[str, Any]:
    return {name: getattr(person, name) for name in person.__struct_fields__}


def _is_sought(seeker: dict[str, Any], other: dict[str, Any]) -> bool:
    return (
        gender_suits(seeker["seeks_genders"], other["gender"])
        and age_suits((seeker["seeks_min_age"], seeker["seeks_max_age"]), other["age"])
        and km_suits(seeker["seeks_max_km"], place_of(seeker), place_of(other))
    )


def gender_suits(sought: Iterable[str], gender: str | None) -> bool:
    """Whether a preference lets a gender through; an unknown one passes, as it does with age and place."""
    wanted = {one.lower() for one in sought}
    return not wanted or gender is None or gender.lower() in wanted


def age_suits(ages: tuple[int | None, int | None], age: int | None) -> bool:
    return age is None or (ages[0] or 0) <= age <= (ages[1] or 999)


def km_suits(max_km: float | None, one: Place, other: Place) -> bool:
    return max_km is None or one is None or other is None or km_between(one, other) <= max_km


def place_of(person: Mapping[str, Any]) -> Place:
    """Latitude and longitude; None when they are unknown."""
    return None if person["latitude"] is None else (person["latitude"], person["longitude"])


def km_between(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Great-circle distance, by the haversine formula."""
    lat_a, lat_b = math.radians(one[0]), math.radians(other[0])
    d_lat, d_lon = lat_b - lat_a, math.radians(other[1] - one[1])
    haversine = math.sin(d_lat / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(d_lon / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(haversine))
