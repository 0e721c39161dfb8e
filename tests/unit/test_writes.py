"""What a write does after its commit: whose tokens are replaced, and who is told."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

from service.controllers.writes import Aftermath
from service.domain import Interaction, Kind
from service.repositories.interactions import Recorded
from tests.fakes import NOW, MemoryRedis


class Told(MemoryRedis):
    """A feed, tokens, news and what is held, which note what they are told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Any]] = []

    def nudge(self) -> None:
        self.told.append(("nudge", None))

    def drop(self, ids: Iterable[int]) -> None:
        self.told.append(("drop", sorted(ids)))

    async def tell(self, people: Sequence[int]) -> None:
        self.told.append(("tell", list(people)))

    async def changed(self, viewer_ids: Collection[int]) -> bool:
        self.told.append(("changed", sorted(viewer_ids)))
        return await super().changed(viewer_ids)

    async def drop_pools(self, viewer_ids: Collection[int] | None) -> bool:
        self.told.append(("drop_pools", sorted(viewer_ids or ())))
        return await super().drop_pools(viewer_ids)

    def of(self, what: str) -> list[Any]:
        return [said for name, said in self.told if name == what]


def given(kind: Kind, actor_id: int = 1, target_id: int = 2) -> Interaction:
    return Interaction(actor_id=actor_id, target_id=target_id, kind=kind, occurred_at=NOW)


async def after(*interactions: Interaction, returned: Sequence[tuple[int, int]] = ()) -> Told:
    told = Told()
    recorded = Recorded(len(interactions), 0, [], list(returned))
    await Aftermath(told, told, told, told).of_interactions(interactions, recorded)
    return told


@pytest.mark.parametrize("kind", [Kind.LIKE, Kind.PASS, Kind.BLOCK, Kind.UNMATCH])
async def test_both_persons_get_new_versions_and_keep_their_pools(kind: Kind) -> None:
    told = await after(given(kind))
    assert (told.of("changed"), told.of("drop"), told.of("drop_pools")) == ([[1, 2]], [[1, 2]], [[]])


@pytest.mark.parametrize("kind", [Kind.UNLIKE, Kind.UNPASS, Kind.UNBLOCK])
async def test_a_withdrawal_drops_the_pools_of_both(kind: Kind) -> None:
    told = await after(given(kind), given(Kind.LIKE, 3, 4))
    assert (told.of("changed"), told.of("drop_pools")) == ([[1, 2, 3, 4]], [[1, 2]])


async def test_who_may_be_seen_again_is_looked_for_anew() -> None:
    told = await after(given(Kind.LIKE), returned=[(1, 2)])
    assert told.of("drop_pools") == [[1, 2]]


@pytest.mark.parametrize("kind", [Kind.MESSAGE, Kind.VIEW])
async def test_what_hides_nobody_and_shows_nobody_only_nudges_the_feed(kind: Kind) -> None:
    assert (await after(given(kind))).told == [("nudge", None)]


async def test_what_is_held_here_is_gone_before_anything_is_waited_for() -> None:
    told = await after(given(Kind.BLOCK))
    assert [name for name, _ in told.told[:2]] == ["nudge", "drop"]


async def test_changed_people_get_new_versions_and_everybody_is_told() -> None:
    told = Told()
    await Aftermath(told, told, told, told).of_people([3, 1, 3])
    assert (told.of("changed"), told.of("tell"), told.of("nudge")) == ([[1, 3]], [[1, 3]], [None])


async def test_redis_away_fails_no_write() -> None:
    told = Told()
    told.away = True
    aftermath = Aftermath(told, told, told, told)
    await aftermath.of_people([1])
    await aftermath.of_interactions([given(Kind.UNBLOCK)], Recorded(1, 0, []))
    assert told.of("drop") == [[1, 2]]


async def test_whose_tokens_redis_did_not_take_is_told_as_news() -> None:
    told = Told()
    told.away = True
    await Aftermath(told, told, told, told).of_interactions([given(Kind.LIKE)], Recorded(1, 0, []))
    assert told.of("tell") == [[1, 2]]
    assert (await after(given(Kind.LIKE))).of("tell") == []
