"""Slates beside one another: who stands where in both."""

from collections.abc import Sequence

import msgspec

from service.domain import RecommendedPerson, Slate


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One ranker's answer. `asked`: its name, None for whoever ranks for this viewer. `problem`: why there is no slate."""

    asked: str | None
    slate: Slate | None = None
    problem: str | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A person at a position of a slate, from 1; `other` is the position in the slate beside it, None where it is in none."""

    person: RecommendedPerson
    position: int
    other: int | None

    @property
    def moved(self) -> int:
        """How many positions higher than beside it; negative where lower."""
        return 0 if self.other is None else self.other - self.position


class Overlap(msgspec.Struct, frozen=True):
    """`shared`: people in both slates; `in_place`: those of them at the same position; `of`: the length of the shorter one."""

    shared: int
    in_place: int
    of: int


def places(slate: Slate, beside: Slate | None) -> list[Place]:
    """The people of a slate with their places."""
    others = {} if beside is None else {person.id: at for at, person in enumerate(beside.recommendations, start=1)}
    people = enumerate(slate.recommendations, start=1)
    return [Place(person=person, position=at, other=others.get(person.id)) for at, person in people]


def overlap(columns: Sequence[Column]) -> Overlap | None:
    """Of two slates; None where there are not two."""
    slates = [column.slate for column in columns if column.slate is not None]
    if len(slates) != 2:
        return None
    one, other = ([person.id for person in slate.recommendations] for slate in slates)
    return Overlap(
        shared=len({*one} & {*other}),
        in_place=sum(left == right for left, right in zip(one, other, strict=False)),
        of=min(len(one), len(other)),
    )
