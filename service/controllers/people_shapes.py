"""People as they travel: the bodies that write them and the reply that shows them."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.bounds import (
    CLOCK_SKEW,
    EARLIEST,
    TO_COME,
    Age,
    Bio,
    Interests,
    Latitude,
    Longitude,
    Name,
    SeeksGenders,
    SeeksKm,
    Word,
)
from service.domain import PersonId, Profile, Status
from service.errors import Problem

Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with its offset")]


class PersonBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole person. What is left out is unknown, or for preferences: no preference. `seeks_min_age` is at most
    `seeks_max_age`. A `created_at` left out stays what it was, and is now for somebody new."""

    name: Name
    id: PersonId | UnsetType = UNSET
    age: Age | None = None
    gender: Word | None = None
    location: Word | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    bio: Bio = ""
    interests: Interests = ()
    seeks_genders: SeeksGenders = ()
    seeks_min_age: Age | None = None
    seeks_max_age: Age | None = None
    seeks_max_km: SeeksKm | None = None
    status: Status = Status.ACTIVE
    created_at: Instant | None = None
    last_active_at: Instant | None = None


class PersonRecord(PersonBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole person with the id."""

    id: PersonId


class PeopleBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to a thousand people, written all or none. Each id at most once."""

    users: Annotated[tuple[PersonRecord, ...], Meta(min_length=1, max_length=1000)]


class PersonChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a person; what is left out stays, and null makes unknown."""

    name: Name | UnsetType = UNSET
    age: Age | UnsetType | None = UNSET
    gender: Word | UnsetType | None = UNSET
    location: Word | UnsetType | None = UNSET
    latitude: Latitude | UnsetType | None = UNSET
    longitude: Longitude | UnsetType | None = UNSET
    bio: Bio | UnsetType = UNSET
    interests: Interests | UnsetType = UNSET
    seeks_genders: SeeksGenders | UnsetType = UNSET
    seeks_min_age: Age | UnsetType | None = UNSET
    seeks_max_age: Age | UnsetType | None = UNSET
    seeks_max_km: SeeksKm | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    last_active_at: Instant | UnsetType | None = UNSET

    def given(self) -> dict[str, Any]:
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person as stored."""

    id: int
    name: str
    age: int | None
    gender: str | None
    location: str | None
    latitude: float | None
    longitude: float | None
    bio: str
    interests: tuple[str, ...]
    seeks_genders: tuple[str, ...]
    seeks_min_age: int | None
    seeks_max_age: int | None
    seeks_max_km: float | None
    status: Status
    created_at: datetime
    last_active_at: datetime | None


class BatchReply(msgspec.Struct, frozen=True):
    created: int
    replaced: int


def person_of(profile: Profile) -> Person:
    return Person(**{name: getattr(profile, name) for name in Person.__struct_fields__})


def profile_of(body: PersonBody, person_id: int, created_at: datetime) -> Profile:
    """The Profile that a body asks for, times in UTC; `created_at` counts where the body has none."""
    values = {name: getattr(body, name) for name in PersonBody.__struct_fields__}
    values |= {"id": person_id, "created_at": (body.created_at or created_at).astimezone(UTC)}
    if body.last_active_at is not None:
        values["last_active_at"] = body.last_active_at.astimezone(UTC)
    return Profile(**values)


def cross_field_problems(person: PersonBody | Profile, now: datetime, prefix: str = "") -> list[Problem]:
    """The rules that span fields, and those that need a clock. `prefix` as in `users[3].`."""
    problems = []
    if (person.latitude is None) != (person.longitude is None):
        lacking = "latitude" if person.latitude is None else "longitude"
        problems.append(Problem(f"{prefix}{lacking}", "latitude and longitude must be given together"))
    low, high = person.seeks_min_age, person.seeks_max_age
    if low is not None and high is not None and low > high:
        problems.append(Problem(f"{prefix}seeks_min_age", "must be at most seeks_max_age"))
    for name in ("created_at", "last_active_at"):
        problems += time_problems(getattr(person, name), f"{prefix}{name}", now)
    return problems


def change_problems(changes: PersonChanges, after: Profile, now: datetime) -> list[Problem]:
    """The same for a change: what was wrong before and is not touched is not held against it."""
    given = changes.given()
    spans = ({"latitude", "longitude"}, {"seeks_min_age", "seeks_max_age"}, {"last_active_at"})
    touched = set().union(*(fields for fields in spans if fields & given.keys()))
    return [problem for problem in cross_field_problems(after, now) if problem.field in touched]


def time_problems(instant: datetime | None, field: str, now: datetime) -> list[Problem]:
    if instant is None:
        return []
    if instant < EARLIEST:
        return [Problem(field, "must not be before 1970")]
    if instant > now + CLOCK_SKEW:
        return [Problem(field, TO_COME)]
    return []
