"""A population from profiles and interactions, as they come from the database or from the part of it that training may see."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from service.domain import FeedPosition, Profile
from service.population.columns import Columns
from service.population.directory import Directory
from service.population.population import START, Base, Population
from service.population.profiles import ProfileBytes, encode
from service.population.relations import RelationMemory
from service.population.sides import compressed
from service.population.standing import STANDING
from service.population.table import Table
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

    def memory(self, ids: Ids) -> RelationMemory:
        """As the memory of these people, `ids` sorted; pairs with anybody else are left out."""
        return RelationMemory(ids, *compressed(ids, self.actors, self.targets, self.standing))


class Builder:
    """Takes profiles in batches, in any order, and makes a population of them. About 10 µs and 350 bytes a person."""

    def __init__(self) -> None:
        self._words = Vocabularies()
        self._tables = [Table.of((), self._words)]
        self._encoded: list[bytes] = []

    def add(self, profiles: Iterable[Profile]) -> None:
        """Add people; each id once."""
        batch = list(profiles)
        self._tables.append(Table.of(batch, self._words))
        self._encoded.extend(encode(profile) for profile in batch)

    def build(self, pairs: StandingPairs, position: FeedPosition = START, tastes: Tastes | None = None) -> Population:
        """The population, rows by ascending id, and so those of `tastes`, if any."""
        table = Table.joined(self._tables)
        order = np.argsort(table.values["id"], kind="stable")
        table = table.ordered(order)
        ids = np.asarray(table.values["id"], np.int64)
        relations = pairs.memory(ids)
        return Population(
            Base(
                columns=Columns(table.values | relations.counts(), table.interests),
                words=self._words,
                directory=Directory(ids, np.arange(len(ids))),
                profiles=ProfileBytes.of(self._encoded[index] for index in order.tolist()),
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
