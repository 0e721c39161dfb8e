"""Matches by page, and the registry of bundles."""

from datetime import timedelta

import pytest

from service.domain import Kind
from service.errors import LiveBundleMoved, OperatorError
from service.population.promoting import live_before, live_of
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.matches import Matches
from tests.integration.repo_builders import NOON, did, settle
from tests.servers import execute


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
    await bundles.rollback("c", "b")

    assert await bundles.retire(1, NOON + timedelta(hours=1)) == ["a", "c"]
    assert [(bundle.version, bundle.live) for bundle in await bundles.list()] == [("b", True)]


async def test_rolling_back_goes_back_step_by_step_in_the_order_of_publication(bundles: Bundles) -> None:
    for version in ("c", "a", "b"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)

    steps = []
    while before := live_before(records := await bundles.list()):
        live = live_of(records)
        assert live is not None
        steps.append((await bundles.rollback(live.version, before)).version)
    assert steps == ["a", "c"]


async def test_a_rollback_never_comes_back_to_a_bundle_that_was_rolled_back(bundles: Bundles) -> None:
    for version in ("a", "b"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)
    await bundles.rollback("b", "a")
    await bundles.register("c", NOON, {})
    await bundles.publish("c")

    assert live_before(await bundles.list()) == "a"


async def test_the_bundle_before_is_another_than_the_live_one_though_a_clock_was_turned_back(
    bundles: Bundles, database: Database
) -> None:
    for version in ("a", "b", "c"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)
    await execute(database.url, ["update bundles set published_at = published_at - interval '1 hour' where version = 'c'"])

    assert live_before(await bundles.list()) == "b"
    assert (await bundles.rollback("c", "b")).version == "b"


@pytest.mark.parametrize(("live", "before"), [("b", "a"), ("c", "a"), ("nope", "b")])
async def test_a_rollback_from_or_to_another_bundle_than_was_meant_changes_nothing(
    bundles: Bundles, live: str, before: str
) -> None:
    for version in ("a", "b", "c"):
        await bundles.register(version, NOON, {})
        await bundles.publish(version)
    then = await bundles.list()

    with pytest.raises(LiveBundleMoved):
        await bundles.rollback(live, before)
    assert await bundles.list() == then


async def test_a_bundle_takes_the_place_of_the_one_that_was_meant_and_of_no_other(bundles: Bundles) -> None:
    for version in ("a", "b"):
        await bundles.register(version, NOON, {})
    assert (await bundles.replace(None, "a")).live
    with pytest.raises(LiveBundleMoved, match="meanwhile a went live in the place of none"):
        await bundles.replace(None, "b")
    assert (await bundles.replace("a", "b")).live


async def test_an_unregistered_bundle_cannot_be_published(bundles: Bundles) -> None:
    with pytest.raises(OperatorError, match="nope"):
        await bundles.publish("nope")
    assert await bundles.live() is None
