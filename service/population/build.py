"""A population from profiles and interactions, as they come from the database or from the part of it that training may see."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from service.domain import FeedPosition, Profile
from service.population.columns import STORED, Columns, Interests, attributes, interest_codes
from service.population.population import START, Base, Population
from service.population.profiles import ProfileBytes, encode
from service.population.relations import STANDING, RelationMemory, Side, compress
from service.population.tastes import Tastes
from service.population.vocabulary import Vocabularies
from service.repositories.columns import KINDS, InteractionTable

Ids = NDArray[np.int64]

_STANDING_OF_CODE = np.array([STANDING.get(kind, 0) for kind in KINDS], np.int8)


class StandingPairs:
    """What stands between ordered pairs: `actors` on `targets`, int64 (m,), `standing` int8 (m,): LIKED, PASSED, BLOCKED,
    MESSAGED or 0, of which a pair may bear several."""

    def __init__(self, actors: Ids, targets: Ids, standing: NDArray[np.int8]) -> None:
        stands = standing > 0
        self.actors, self.targets, self.standing = actors[stands], targets[stands], standing[stands]

    @classmethod
    def of_table(cls, table: InteractionTable) -> "StandingPairs":
        """What stands of recorded interactions: the table holds all messages, and of opinions and blocks the latest of a pair."""
        return cls(table.actor, table.target, _STANDING_OF_CODE[table.kind])

    @classmethod
    def none(cls) -> "StandingPairs":
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8))


class Builder:
    """Takes profiles in batches, in any order, and makes a population of them. About 10 µs and 350 bytes a person."""

    def __init__(self) -> None:
        self._words = Vocabularies()
        self._rows: list[tuple[float | int | bool, ...]] = []
        self._interests: list[list[int]] = []
        self._encoded: list[bytes] = []

    def add(self, profiles: Iterable[Profile]) -> None:
        """Add people; each id once."""
        for profile in profiles:
            self._rows.append(attributes(profile, self._words))
            self._interests.append(interest_codes(profile, self._words))
            self._encoded.append(encode(profile))

    def build(self, pairs: StandingPairs, position: FeedPosition = START, tastes: Tastes | None = None) -> Population:
        """The population. `tastes`, if any, are aligned with ascending ids."""
        order = np.argsort([row[0] for row in self._rows], kind="stable") if self._rows else np.empty(0, np.int64)
        by_id = order.tolist()
        values = zip(*(self._rows[index] for index in by_id), strict=True) if by_id else iter([()] * len(STORED))
        stored = {name: np.array(column, dtype) for (name, dtype), column in zip(STORED.items(), values, strict=True)}
        indptr = np.zeros(len(by_id) + 1, np.int64)
        np.cumsum([len(self._interests[index]) for index in by_id], out=indptr[1:])
        codes = np.fromiter((code for index in by_id for code in self._interests[index]), np.int32, int(indptr[-1]))
        ids = stored["id"]
        relations = RelationMemory(
            ids,
            compress(ids, pairs.actors, pairs.targets, pairs.standing),
            compress(ids, pairs.targets, pairs.actors, pairs.standing),
        )
        return Population(
            Base(
                columns=Columns(stored, counts(relations), Interests(indptr, codes)),
                words=self._words,
                profiles=ProfileBytes.of(self._encoded[index] for index in by_id),
                relations=relations,
                tastes=tastes,
                position=position,
            )
        )


def build(profiles: Iterable[Profile], pairs: StandingPairs | None = None, tastes: Tastes | None = None) -> Population:
    """A population of these people in one call; without `pairs` nobody has done anything yet."""
    builder = Builder()
    builder.add(profiles)
    return builder.build(pairs or StandingPairs.none(), tastes=tastes)


def counts(relations: RelationMemory) -> dict[str, NDArray[np.int32]]:
    """Likes, with messages of pairs without an opinion, and passes, received and given, of everyone in the relations."""
    sides: tuple[tuple[str, Side], ...] = (("received", relations.received), ("given", relations.given))
    found: dict[str, NDArray[np.int32]] = {}
    for name, side in sides:
        found[f"n_likes_{name}"], found[f"n_passes_{name}"] = side.likes_and_passes()
    return found
