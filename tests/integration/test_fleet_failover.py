"""A Cluster and a Sentinel group of real Valkeys: used like one server, and still there after one of them was killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.fleet import keys
from service.fleet.client import Fleet
from service.fleet.leases import Leases
from service.fleet.links import Sentinels
from service.fleet.news import News
from service.fleet.tokens import Tokens, ViewerTokens
from service.resilience import Breaker, Deadline
from tests.valkeys import SentinelGroup, ValkeyCluster, ValkeyNode

LEASE = keys.lease(42, "digest")


@pytest.fixture(scope="module")
def cluster(servers: object) -> Iterator[ValkeyCluster]:
    """Three masters that nobody kills."""
    with ValkeyCluster() as running:
        yield running


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Fleet]:
    fleet = Fleet.open(url, 1.0, Breaker("redis", cool_down_s=0.2))
    await until(fleet.ping)  # learning where everybody is may take longer than one timeout
    yield fleet
    await fleet.close()


async def until(met: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(40):
        while not await met():  # noqa: ASYNC110 - servers get there in their own time
            await asyncio.sleep(0.05)


async def viewers(fleet: Fleet, count: int = 20) -> list[Any]:
    """What viewers read, whose keys are spread over all nodes."""
    replica = ViewerTokens(fleet, 600)
    return await asyncio.gather(*(replica.read(viewer, [keys.pool(viewer, "x")], Deadline(5)) for viewer in range(1, count + 1)))


@asynccontextmanager
async def telling(fleet: Fleet) -> AsyncIterator[tuple[News, list[int]]]:
    heard: list[int] = []
    news = News(fleet, [heard.extend], heard.clear)
    task = asyncio.create_task(news.run())
    await until(lambda: _is_live(news))
    yield news, heard
    task.cancel()
    await asyncio.wait({task})


async def _is_live(news: News) -> bool:
    return news.is_live


async def test_a_cluster_is_used_like_one_server(cluster: ValkeyCluster) -> None:
    async with opened(cluster.url) as one, opened(cluster.url) as other:
        first = await viewers(one, 300)
        assert None not in first
        assert await viewers(other, 300) == first
        assert await ViewerTokens(one, 600).changed(range(1, 2001))
        assert await ViewerTokens(one, 600).drop_pools(None)
        second = await viewers(other, 300)
        assert all(
            old[0].version != new[0].version and old[0].everyone != new[0].everyone
            for old, new in zip(first, second, strict=True)
        )
    assert all(int(node.ask("DBSIZE")) > 100 for node in cluster.nodes)


async def test_all_of_one_viewers_keys_are_on_one_node(cluster: ValkeyCluster) -> None:
    names = [keys.version(42), keys.generation(42), keys.pool(42, "digest"), LEASE]
    assert len({cluster.nodes[0].ask("CLUSTER", "KEYSLOT", name) for name in names}) == 1


async def test_in_a_cluster_too_a_stranger_gets_tokens_and_a_store_tells_them(cluster: ValkeyCluster) -> None:
    async with opened(cluster.url) as one, opened(cluster.url) as other:
        for viewer in range(301, 311):
            read = await ViewerTokens(one, 600).read(viewer, [keys.pool(viewer, "x")], Deadline(5), is_stranger=True)
            store = [("SET", keys.pool(viewer, "x"), "pool"), *ViewerTokens(other, 600).prolonged(viewer)]
            replies = await other.run("test", store, Deadline(5))
            assert replies is not None
            assert read == (Tokens.told(replies[1:]), [None])


async def test_leases_and_news_work_in_a_cluster(cluster: ValkeyCluster) -> None:
    async with opened(cluster.url) as one, opened(cluster.url) as other, telling(other) as (_, heard):
        assert await Leases(one).take(LEASE, "one", 60_000) is True
        assert await Leases(other).take(LEASE, "other", 60_000) is False
        await Leases(one).release(LEASE, "one")
        assert await Leases(other).take(LEASE, "other", 60_000) is True
        for person in range(1, 10):  # each through whichever node
            await News(one, [], lambda: None).tell([person])
        async with asyncio.timeout(5):
            while len(heard) < 9:  # noqa: ASYNC110 - it comes in its own time
                await asyncio.sleep(0.01)
        assert sorted(heard) == list(range(1, 10))


async def test_a_slot_that_moves_takes_its_viewers_along(cluster: ValkeyCluster) -> None:
    source = cluster.owner("{77}")
    target = next(node for node in cluster.nodes if node is not source)
    slot = source.ask("CLUSTER", "KEYSLOT", "{77}")
    async with opened(cluster.url) as fleet:
        replica = ViewerTokens(fleet, 600)
        seen = [await replica.read(77, [keys.pool(77, "none")], Deadline(5))]
        _set(target, slot, "IMPORTING", source)
        _set(source, slot, "MIGRATING", target)
        seen.append(await replica.read(77, [keys.pool(77, "none")], Deadline(5)))  # one key might have moved: asked both
        for name in (keys.version(77), keys.generation(77)):
            source.ask("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
            seen += [await replica.read(77, [keys.pool(77, "none")], Deadline(5), stranger) for stranger in (False, True)]
        assert await fleet.run("test", [("SET", keys.pool(77, "new"), "x")], Deadline(5)) == [b"OK"]
        for node in cluster.nodes:
            _set(node, slot, "NODE", target)
        seen.append(await replica.read(77, [keys.pool(77, "none")], Deadline(5)))  # moved for good
        assert await replica.read(77, [keys.pool(77, "new")], Deadline(5)) != seen[0]
        assert await replica.changed([77])
        n_moved = _moved(source)
        assert await replica.read(77, [], Deadline(5)) is not None
        assert _moved(source) == n_moved > 0  # once told where it is, nobody asks the old place
    assert seen[0] is not None
    assert seen == [seen[0]] * 7


def _set(node: ValkeyNode, slot: int, state: str, other: ValkeyNode) -> None:
    node.ask("CLUSTER", "SETSLOT", slot, state, other.ask("CLUSTER", "MYID"))


def _moved(node: ValkeyNode) -> int:
    """How often the node sent somebody elsewhere for good."""
    return int(node.ask("INFO", "errorstats").get("errorstat_MOVED", {"count": 0})["count"])


async def test_a_cluster_whose_hosts_in_the_url_are_partly_gone_is_found(cluster: ValkeyCluster) -> None:
    async with opened(cluster.url.replace("//", "//127.0.0.1:1,")) as fleet:
        assert None not in await viewers(fleet)


async def test_a_server_that_is_no_cluster_is_redis_away(redis_url: str, servers: object) -> None:
    fleet = Fleet.open("redis+cluster://127.0.0.1:1", 0.5, Breaker("redis"))
    assert await fleet.get(["k"], Deadline(5)) is None
    assert not await fleet.ping()
    await fleet.close()


@pytest.mark.slow
async def test_a_cluster_works_again_after_a_master_was_killed(servers: object) -> None:
    with ValkeyCluster(replicas=1) as cluster:
        async with opened(cluster.url) as fleet, telling(fleet) as (news, heard):
            assert None not in await viewers(fleet)
            cluster.owner(keys.GENERATION_OF_ALL).kill()
            assert None in await viewers(fleet)
            await until(lambda: _all_there(fleet))
            assert await ViewerTokens(fleet, 600).changed(range(1, 101))
            await until(lambda: _is_live(news))
            await until(lambda: _is_heard(fleet, heard))


@pytest.mark.slow
async def test_a_sentinel_group_works_again_after_its_master_was_killed(servers: object) -> None:
    with SentinelGroup() as group:
        async with opened(group.url) as fleet, telling(fleet) as (news, heard):
            first = await viewers(fleet)
            assert None not in first
            assert group.master.ask("DBSIZE") == 41
            await until(lambda: _replicated(group))
            group.master.kill()
            assert set(await viewers(fleet)) == {None}
            await until(lambda: _all_there(fleet))
            assert await viewers(fleet) == first  # the replica had them all
            assert group.replica.ask("DBSIZE") == 41
            await until(lambda: _is_live(news))
            await until(lambda: _is_heard(fleet, heard))


async def test_a_dead_sentinel_is_passed_over(servers: object) -> None:
    with SentinelGroup() as group:
        group.sentinels[0].kill()
        async with opened(group.url) as fleet:
            assert None not in await viewers(fleet)


class Watcher:
    """A Sentinel that knows the master as `state` says, after a moment."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    async def sentinel_masters(self) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"main": {"is_master": True, "is_odown": False, "num-other-sentinels": 1, "port": 1, **self.state}}


async def test_no_sentinel_is_lost_when_several_ask_at_once() -> None:
    doubting: Any = Watcher({"is_sdown": True})
    sure: Any = Watcher({"is_sdown": False, "ip": "10.0.0.1"})
    watchers = Sentinels([])
    for _ in range(3):
        watchers.sentinels = [doubting, sure]
        found = await asyncio.gather(*(watchers.discover_master("main") for _ in range(3)))
        assert (found, set(watchers.sentinels)) == ([("10.0.0.1", 1)] * 3, {doubting, sure})


async def _all_there(fleet: Fleet) -> bool:
    return None not in await viewers(fleet)


async def _is_heard(fleet: Fleet, heard: list[int]) -> bool:
    await News(fleet, [], lambda: None).tell([7])
    await asyncio.sleep(0.05)
    return 7 in heard


async def _replicated(group: SentinelGroup) -> bool:
    return bool(group.replica.ask("DBSIZE") == 41)
