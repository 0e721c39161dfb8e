"""Matches by page, and the registry of bundles."""

from datetime import timedelta

import pytest

from service.domain import Kind
from service.errors import OperatorError
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.matches import Matches
from tests.integration.repo_builders import NOON, did, settle


@pytest.fixture
def bundles(database: Database) -> Bundles:
    return Bundles(database.sessions)


async def test_pages_of_matches_give_each_once_newest_first(database: Database) -> None:
    await settle(database, 9)
    minutes = {1: 3, 2: 3, 3: 1, 5: 3, 6: 2, 7: 9, 8: 3}
    likes = [did(a, Kind.LIKE, b, minute) for other, minute in minutes.items() for a, b in ((4, other), (other, 4))]
    await Interactions(database.sessions).record(likes)
    matches = Matches(database.sessions)
    pages = [await matches.page(4, 3)]
    while pages[-1]:
        pages.append(await matches.page(4, 3, before=pages[-1][-1]))

    assert [[match.user_id for match in page] for page in pages] == [[7, 8, 5], [2, 1, 6], [3], []]
    assert [match.user_id for match in await matches.page(7, 10)] == [4]


async def test_no_bundle_is_live_before_the_first_is_published(bundles: Bundles) -> None:
    await bundles.register("a", NOON, {"ndcg": 0.5})

    assert await bundles.live() is None
    assert [(bundle.version, bundle.metrics, bundle.live) for bundle in await bundles.list()] == [("a", {"ndcg": 0.5}, False)]


async def test_publishing_moves_the_one_pointer(bundles: Bundles) -> None:
    for version in ("a", "b"):
        await bundles.register(version, NOON, {})
        published = await bundles.publish(version)
        assert (published.version, published.live) == (version, True)

    assert await bundles.live() == published
    assert [(bundle.version, bundle.live) for bundle in await bundles.list()] == [("b", True), ("a", False)]


async def test_retiring_keeps_the_live_one_the_newest_published_and_what_is_just_made(bundles: Bundles) -> None:
    for version in ("a", "b", "c", "d"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)
    await bundles.publish("a")
    await bundles.publish("d")
    await bundles.register("refused", NOON, {})
    await bundles.register("new", NOON + timedelta(days=1), {})

    assert await bundles.retire(2, NOON + timedelta(hours=1)) == ["b", "c", "refused"]
    assert {bundle.version for bundle in await bundles.list()} == {"a", "d", "new"}


async def test_a_live_bundle_is_never_retired(bundles: Bundles) -> None:
    for version in ("a", "b", "c"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)
    await bundles.rollback()

    assert await bundles.retire(1, NOON + timedelta(hours=1)) == ["a", "c"]
    assert [(bundle.version, bundle.live) for bundle in await bundles.list()] == [("b", True)]


async def test_rolling_back_goes_back_step_by_step_in_the_order_of_publication(bundles: Bundles) -> None:
    for version in ("c", "a", "b"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)

    assert [(await bundles.rollback()).version for _ in range(2)] == ["a", "c"]
    with pytest.raises(OperatorError):
        await bundles.rollback()
    live = await bundles.live()
    assert live is not None
    assert live.version == "c"


async def test_a_rollback_never_comes_back_to_a_bundle_that_was_rolled_back(bundles: Bundles) -> None:
    for version in ("a", "b"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)
    await bundles.rollback()
    await bundles.register("c", NOON, {})
    await bundles.publish("c")

    assert (await bundles.rollback()).version == "a"


async def test_an_unregistered_bundle_cannot_be_published(bundles: Bundles) -> None:
    with pytest.raises(OperatorError, match="nope"):
        await bundles.publish("nope")
    assert await bundles.live() is None
