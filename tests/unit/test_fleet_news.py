"""News over a channel that a test controls: when it counts as live, and what is dropped when it does not."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from service import metrics
from service.errors import RedisUnavailable
from service.fleet import news
from service.fleet.news import News
from tests.fakes import FakeClock


class Channel:
    """A Fleet's two ends of pub/sub: what is published is heard unless it is `deaf`, and `cut` breaks the connection."""

    def __init__(self) -> None:
        self.deaf = False
        self.connections = 0
        self._heard: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def publish(self, payload: bytes, channel: str = "amity:news") -> bool:
        if not self.deaf:
            self.deliver(payload)
        return not self.deaf

    def deliver(self, payload: bytes) -> None:
        self._heard.put_nowait(payload)

    async def listen(self, *channels: str) -> AsyncGenerator[bytes, None]:
        self.connections += 1
        while (payload := await self._heard.get()) is not None:
            yield payload
        raise RedisUnavailable

    def cut(self) -> None:
        self._heard.put_nowait(None)


class Replica:
    """A News that beats every 5 ms of real time, and whose clock stands still unless it is turned."""

    def __init__(self) -> None:
        self.channel = Channel()
        self.clock = FakeClock()
        self.heard: list[Sequence[int]] = []
        self.story: list[bool] = []
        """For each `lapsed`, whether news was live then."""
        self.news = News(self.channel, [self.heard.append], self._lapsed, self.clock.monotonic)  # type: ignore[arg-type]

    def _lapsed(self) -> None:
        self.story.append(self.news.is_live)

    async def until_live(self) -> None:
        async with asyncio.timeout(5):
            while not self.news.is_live:  # noqa: ASYNC110 - a property that depends on a clock
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[Replica]:
    task = asyncio.create_task(replica.news.run())
    yield replica
    task.cancel()
    await asyncio.wait({task})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "HEARTBEAT_S", 0.005)
    monkeypatch.setattr(news, "RECONNECT_S", 0.005)


def counted(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


async def test_news_is_live_once_a_heartbeat_came_back_and_all_was_dropped_before() -> None:
    replica = Replica()
    assert not replica.news.is_live
    async with running(replica):
        await replica.until_live()
        assert replica.story == [False]
        assert counted("amity_news_live") == 1


async def test_without_a_heartbeat_for_a_second_news_is_dead_and_lapses_once() -> None:
    before = counted("amity_news_lapsed_total")
    async with running(Replica()) as replica:
        await replica.until_live()
        replica.channel.deaf = True
        await asyncio.sleep(0.01)
        replica.clock.elapsed_s += 1.01
        assert not replica.news.is_live
        await asyncio.sleep(0.03)
        assert replica.story == [False, False]
        assert counted("amity_news_lapsed_total") == before + 1
        assert counted("amity_news_live") == 0


async def test_a_stop_in_good_order_drops_what_is_held_and_counts_as_no_lapse() -> None:
    before = counted("amity_news_lapsed_total")
    async with running(Replica()) as replica:
        await replica.until_live()
    assert replica.story == [False, False]
    assert counted("amity_news_lapsed_total") == before
    assert counted("amity_news_live") == 0


async def test_a_heartbeat_that_was_long_on_its_way_proves_nothing() -> None:
    async with running(Replica()) as replica:
        await replica.until_live()
        late = news._Heartbeat(replica.news._me, replica.clock.elapsed_s)
        replica.channel.deaf = True
        replica.clock.elapsed_s += 1.5
        await asyncio.sleep(0.02)
        replica.channel.deliver(msgspec.msgpack.encode(late))
        await asyncio.sleep(0.02)
        assert not replica.news.is_live
        assert replica.story == [False, False]  # the loss, and nothing that would come before being live


async def test_a_broken_connection_lapses_at_once_and_again_before_news_is_live_on_the_next() -> None:
    async with running(Replica()) as replica:
        await replica.until_live()
        replica.channel.deaf = True
        replica.channel.cut()
        await asyncio.sleep(0.03)
        assert (replica.news.is_live, len(replica.story)) == (False, 2)
        replica.channel.deaf = False
        await replica.until_live()
        assert replica.story == [False, False, False]
        assert replica.channel.connections == 2


async def test_a_connection_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "PATIENCE_S", 0.05)
    async with running(Replica()) as replica:
        await replica.until_live()
        await asyncio.sleep(0.1)
        assert replica.channel.connections == 1  # heartbeats keep it
        replica.channel.deaf = True
        await asyncio.sleep(0.15)
        assert replica.channel.connections >= 2


async def test_another_replicas_heartbeat_is_not_ones_own() -> None:
    replica = Replica()
    replica.channel.deaf = True
    async with running(replica):
        replica.channel.deliver(msgspec.msgpack.encode(news._Heartbeat(b"somebody", 0.0)))
        await asyncio.sleep(0.02)
        assert not replica.news.is_live


async def test_listeners_hear_their_own_news_at_once_and_not_twice() -> None:
    async with running(Replica()) as replica:
        await replica.news.tell([3, 1])
        assert replica.heard == [[3, 1]]
        await asyncio.sleep(0.02)
        assert replica.heard == [[3, 1]]


async def test_news_of_many_comes_in_messages_of_ten_thousand() -> None:
    teller, other = Replica(), Replica()
    other.channel = teller.channel
    listener = News(teller.channel, [other.heard.append], lambda: None)  # type: ignore[arg-type]
    task = asyncio.create_task(listener.run())
    await teller.news.tell(range(1, 25_001))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})
    assert [len(people) for people in other.heard] == [10_000, 10_000, 5_000]
    assert [one for people in other.heard for one in people] == list(range(1, 25_001))


async def test_nothing_to_tell_is_not_told() -> None:
    before = counted("amity_news_messages_total", outcome="sent")
    await Replica().news.tell([])
    assert counted("amity_news_messages_total", outcome="sent") == before


async def test_news_that_redis_did_not_take_is_counted_and_heard_here() -> None:
    before = counted("amity_news_messages_total", outcome="unsent")
    replica = Replica()
    replica.channel.deaf = True
    await replica.news.tell([7])
    assert replica.heard == [[7]]
    assert counted("amity_news_messages_total", outcome="unsent") == before + 1


FOREIGN: list[Any] = [[1, b"x", [0]], [1, b"x", [2**63]], [1, b"x", ["7"]], [2, b"x", [7]], {"people": [7]}, 7, None, [1]]


@pytest.mark.parametrize("payload", [b"", b"junk", b"\xff" * 9, *map(msgspec.msgpack.encode, FOREIGN)])
async def test_foreign_bytes_are_counted_and_change_nothing(payload: bytes) -> None:
    before = counted("amity_news_messages_total", outcome="foreign")
    async with running(Replica()) as replica:
        await replica.until_live()
        await replica.channel.publish(payload)
        await asyncio.sleep(0.02)
        assert (replica.news.is_live, replica.heard, len(replica.story)) == (True, [], 1)
    assert counted("amity_news_messages_total", outcome="foreign") == before + 1


async def test_a_listener_that_fails_ends_the_run_and_leaves_nothing_trusted() -> None:
    replica = Replica()

    def fail(people: Sequence[int]) -> None:
        raise ZeroDivisionError

    replica.news = News(replica.channel, [fail], replica._lapsed, replica.clock.monotonic)  # type: ignore[arg-type]
    task = asyncio.create_task(replica.news.run())
    await replica.until_live()
    await replica.channel.publish(msgspec.msgpack.encode(news._News(b"somebody", [7])))
    await asyncio.wait({task})
    assert isinstance(task.exception(), ExceptionGroup)
    assert not replica.news.is_live
