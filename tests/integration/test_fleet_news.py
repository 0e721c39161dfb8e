"""News between replicas through a real Valkey, and what becomes of it when Valkey hangs, dies or comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import redis

from service.fleet import news
from service.fleet.client import Fleet
from service.fleet.news import News
from service.resilience import Breaker
from tests.proxy import Proxy
from tests.servers import PrivateValkey


class Replica:
    def __init__(self, url: str) -> None:
        self.fleet = Fleet.open(url, 0.5, Breaker("redis", cool_down_s=0.1))
        self.heard: list[int] = []
        self.n_lapsed = 0
        self.news = News(self.fleet, [self._hear], self._lapsed)

    def _hear(self, people: Sequence[int]) -> None:
        self.heard.extend(people)

    def _lapsed(self) -> None:
        self.n_lapsed += 1


@asynccontextmanager
async def running(*urls: str) -> AsyncIterator[list[Replica]]:
    """Replicas whose news is live."""
    replicas = [Replica(url) for url in urls]
    tasks = [asyncio.create_task(replica.news.run()) for replica in replicas]
    await until(lambda: all(replica.news.is_live for replica in replicas))
    yield replicas
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for replica in replicas:
        await replica.fleet.close()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not met():  # noqa: ASYNC110 - what others do in their own time
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(news, "RECONNECT_S", 0.05)


async def test_every_replica_hears_who_changed(redis_url: str) -> None:
    async with running(redis_url, redis_url, redis_url) as replicas:
        await replicas[0].news.tell(range(1, 12_001))
        await until(lambda: all(len(replica.heard) == 12_000 for replica in replicas))
        await replicas[2].news.tell([7])
        await until(lambda: all(replica.heard[-1] == 7 for replica in replicas))
    assert all(replica.heard == [*range(1, 12_001), 7] for replica in replicas)
    assert [replica.n_lapsed for replica in replicas] == [2, 2, 2]  # before being live, and at the end


async def test_heartbeats_are_not_sent_to_the_others(redis_url: str) -> None:
    async with running(redis_url, redis_url):
        with redis.Redis.from_url(redis_url) as client:
            subscribers = dict(client.pubsub_numsub(*client.pubsub_channels("amity:news*")))
    assert sorted(subscribers.values()) == [1, 1, 2]


async def test_a_valkey_that_hangs_makes_news_lapse_and_come_back(private_valkey: PrivateValkey) -> None:
    async with running(private_valkey.url) as (replica,):
        private_valkey.pause()
        await until(lambda: replica.n_lapsed == 2)
        assert not replica.news.is_live
        private_valkey.resume()
        await until(lambda: replica.news.is_live)
        assert replica.n_lapsed == 3


async def test_a_valkey_that_was_killed_and_came_back_carries_news_again(private_valkey: PrivateValkey) -> None:
    async with running(private_valkey.url, private_valkey.url) as (one, other):
        private_valkey.kill()
        await until(lambda: not one.news.is_live and not other.news.is_live)
        await one.news.tell([1])
        assert (one.heard, other.heard) == ([1], [])
        private_valkey.start()
        await until(lambda: one.news.is_live and other.news.is_live)
        await one.news.tell([2])
        await until(lambda: other.heard == [2])
        assert other.n_lapsed == 3


async def test_a_network_that_swallows_everything_makes_news_lapse_and_a_new_connection_is_made(
    private_valkey: PrivateValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "PATIENCE_S", 1.5)
    async with Proxy(private_valkey.socket) as proxy, running(f"redis://127.0.0.1:{proxy.port}/0") as (replica,):
        proxy.freeze()
        await until(lambda: replica.n_lapsed == 2)
        await asyncio.sleep(1.0)
        proxy.thaw()
        await until(lambda: replica.news.is_live)


async def test_a_kicked_subscriber_drops_what_it_held_before_it_is_live_again(redis_url: str) -> None:
    async with running(redis_url) as (replica,):
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: replica.n_lapsed == 3 and replica.news.is_live)


async def test_a_strangers_bytes_on_the_channel_change_nothing(redis_url: str) -> None:
    async with running(redis_url) as (replica,):
        with redis.Redis.from_url(redis_url) as client:
            for payload in (b"", b"\x93\x02\x01\x00", b"hello"):
                client.publish("amity:news", payload)
        await replica.fleet.publish(b"\xc0")
        await asyncio.sleep(0.1)
        assert (replica.news.is_live, replica.heard, replica.n_lapsed) == (True, [], 1)
