"""Tokens and leases in a real Valkey, between replicas."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis

from service.errors import RedisUnavailable
from service.fleet import keys, tokens
from service.fleet.client import Fleet
from service.fleet.leases import Leases
from service.fleet.tokens import Tokens, ViewerTokens
from service.resilience import Breaker, Deadline
from tests.servers import PrivateValkey

LIFE_S = 600
LEASE = keys.lease(42, "digest")


def fleet_of(url: str) -> Fleet:
    return Fleet.open(url, 5.0, Breaker("redis"))


@pytest.fixture
async def fleets(redis_url: str) -> AsyncIterator[list[Fleet]]:
    """Those of two replicas."""
    opened = [fleet_of(redis_url), fleet_of(redis_url)]
    yield opened
    for fleet in opened:
        await fleet.close()


@pytest.fixture
def replicas(fleets: list[Fleet]) -> list[ViewerTokens]:
    return [ViewerTokens(fleet, LIFE_S) for fleet in fleets]


@pytest.fixture
def leases(fleets: list[Fleet]) -> list[Leases]:
    return [Leases(fleet) for fleet in fleets]


class Counted:
    """A fleet of which it is counted how often it is asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.n = 0

    def __getattr__(self, name: str) -> Any:
        self.n += 1
        return getattr(self._fleet, name)


async def tokens_of(replica: ViewerTokens, viewer_id: int = 42) -> Tokens:
    read = await replica.read(viewer_id, [], Deadline(5))
    assert read is not None
    return read[0]


async def test_absent_tokens_are_made_and_stay(replicas: list[ViewerTokens]) -> None:
    first = await tokens_of(replicas[0])
    assert {len(token) for token in (first.version, first.generation, first.everyone)} == {16}
    assert len({first.version, first.generation, first.everyone}) == 3
    assert await tokens_of(replicas[1]) == first


async def test_replicas_that_make_tokens_at_the_same_time_agree(redis_url: str) -> None:
    fleets = [fleet_of(redis_url) for _ in range(8)]
    made = [
        await asyncio.gather(*(tokens_of(ViewerTokens(fleet, LIFE_S), viewer) for fleet in fleets)) for viewer in range(1, 21)
    ]
    for fleet in fleets:
        await fleet.close()
    assert all(len(set(map(str, of_one))) == 1 for of_one in made)


async def test_extra_keys_come_with_the_same_read(replicas: list[ViewerTokens], redis_url: str) -> None:
    await tokens_of(replicas[0])
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.pool(42, "digest"), b"\xffpool")
        client.config_resetstat()
        read = await replicas[0].read(42, [keys.pool(42, "digest"), keys.pool(42, "other")], Deadline(5))
        commands = set(client.info("commandstats"))
    assert read is not None
    assert read[1] == [b"\xffpool", None]
    assert {"cmdstat_get", "cmdstat_set"} & commands == set()


async def test_tokens_of_a_stranger_and_the_extra_keys_come_with_one_exchange(fleets: list[Fleet], redis_url: str) -> None:
    exchanges = Counted(fleets[0])
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.pool(42, "digest"), b"\xffpool")
        read = await ViewerTokens(exchanges, LIFE_S).read(  # type: ignore[arg-type]
            42, [keys.pool(42, "digest"), keys.pool(42, "other")], Deadline(5), is_stranger=True
        )
    assert read is not None
    assert (read[1], exchanges.n) == ([b"\xffpool", None], 1)
    assert await tokens_of(ViewerTokens(fleets[1], LIFE_S)) == read[0]


async def test_who_is_no_stranger_to_another_replica_keeps_their_tokens(replicas: list[ViewerTokens], redis_url: str) -> None:
    before = await tokens_of(replicas[0])
    with redis.Redis.from_url(redis_url) as client:
        client.delete(keys.generation(42))
    read = await replicas[1].read(42, [], Deadline(5), is_stranger=True)
    assert read is not None
    assert (read[0].version, read[0].everyone) == (before.version, before.everyone)
    assert read[0].generation != before.generation


async def test_replicas_that_meet_a_stranger_at_once_agree(replicas: list[ViewerTokens]) -> None:
    one, other = await asyncio.gather(*(each.read(42, [], Deadline(5), is_stranger=True) for each in replicas))
    assert one is not None
    assert one == other


async def test_what_prolongs_tokens_tells_them(replicas: list[ViewerTokens], fleets: list[Fleet]) -> None:
    before = await tokens_of(replicas[0])
    replies = await fleets[1].run("test", replicas[1].prolonged(42), Deadline(5))
    assert replies is not None
    assert Tokens.told(replies) == before
    assert Tokens.told([*replies[:2], None]) is None


async def test_a_change_replaces_the_versions_of_those_it_touches_and_nothing_else(replicas: list[ViewerTokens]) -> None:
    before = {viewer: await tokens_of(replicas[0], viewer) for viewer in (1, 2, 3)}
    assert await replicas[0].changed([1, 2])
    after = {viewer: await tokens_of(replicas[1], viewer) for viewer in (1, 2, 3)}
    assert [before[viewer].version == after[viewer].version for viewer in (1, 2, 3)] == [False, False, True]
    assert after[1].version != after[2].version
    assert all(before[viewer].generation == after[viewer].generation for viewer in (1, 2, 3))


async def test_dropped_pools_are_those_of_the_named_or_of_all(replicas: list[ViewerTokens]) -> None:
    before = await tokens_of(replicas[0])
    assert await replicas[1].drop_pools([42])
    one = await tokens_of(replicas[0])
    assert (one.generation == before.generation, one.version, one.everyone) == (False, before.version, before.everyone)
    assert await replicas[1].drop_pools(None)
    everyone = await tokens_of(replicas[0])
    assert (everyone.everyone == one.everyone, everyone.generation) == (False, one.generation)


async def test_a_batch_of_two_thousand_people_is_written_in_chunks(replicas: list[ViewerTokens], redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.mset({keys.version(viewer): "old" for viewer in range(1, 2001)})
        client.config_resetstat()
        assert await replicas[0].changed(range(1, 2001))
        assert client.dbsize() == 2000
        assert len(set(client.mget(client.keys("amity:*:version")))) == 2000
        assert client.info("commandstats")["cmdstat_set"]["calls"] == 2000


async def test_nothing_is_written_about_those_of_whom_nothing_can_be_held(replicas: list[ViewerTokens], redis_url: str) -> None:
    assert await replicas[0].changed(range(1, 1001))
    assert await replicas[0].drop_pools(range(1, 1001))
    assert await replicas[0].drop_pools(None)
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


@pytest.fixture
def full(redis_url: str) -> Iterator[Callable[[], None]]:
    """Makes the Valkey refuse whatever would grow it."""
    with redis.Redis.from_url(redis_url) as client:
        policy, most = client.config_get("maxmemory-policy"), client.config_get("maxmemory")

        def fill() -> None:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)

        yield fill
        client.config_set("maxmemory", most["maxmemory"])
        client.config_set("maxmemory-policy", policy["maxmemory-policy"])


async def test_a_full_redis_lets_go_of_tokens_that_it_cannot_replace(
    replicas: list[ViewerTokens], redis_url: str, full: Callable[[], None]
) -> None:
    await tokens_of(replicas[0])
    full()
    assert await replicas[0].changed([42])
    with redis.Redis.from_url(redis_url) as client:
        assert not client.exists(keys.version(42))


async def test_tokens_that_a_full_redis_does_not_make_are_unknown(replicas: list[ViewerTokens], full: Callable[[], None]) -> None:
    full()
    assert await replicas[0].read(42, [], Deadline(5)) is None


async def test_tokens_that_stand_a_full_redis_tells_to_strangers_and_with_what_is_stored(
    replicas: list[ViewerTokens], fleets: list[Fleet], full: Callable[[], None]
) -> None:
    before = await tokens_of(replicas[0])
    full()
    assert await replicas[1].read(42, [], Deadline(5), is_stranger=True) == (before, [])
    assert await replicas[1].read(43, [], Deadline(5), is_stranger=True) is None
    replies = await fleets[1].run("test", replicas[1].prolonged(42), Deadline(5))
    assert replies is not None
    assert Tokens.told(replies) == before


@pytest.mark.parametrize("name", [keys.version(42), keys.GENERATION_OF_ALL])
async def test_what_is_no_text_in_the_place_of_a_token_goes(replicas: list[ViewerTokens], redis_url: str, name: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(name, "not a token")
    assert await replicas[0].read(42, [], Deadline(5)) is None
    assert await tokens_of(replicas[0]) == await tokens_of(replicas[1])


async def test_one_chunk_that_failed_makes_the_whole_incomplete(
    private_valkey: PrivateValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 2)
    fleet = Fleet.open(private_valkey.url, 0.2, Breaker("redis", failures=1, cool_down_s=0.0))
    replica = ViewerTokens(fleet, LIFE_S)
    await tokens_of(replica)
    private_valkey.pause()
    changing = asyncio.create_task(replica.changed([1, 2, 3, 4, 5]))
    await asyncio.sleep(0.3)  # the first chunk is lost by now
    private_valkey.resume()
    assert not await changing
    assert await tokens_of(replica, 5)
    await fleet.close()


async def test_tokens_live_for_their_time_and_are_prolonged_with_a_pool(
    replicas: list[ViewerTokens], fleets: list[Fleet], redis_url: str
) -> None:
    await tokens_of(replicas[0])
    names = [keys.version(42), keys.generation(42), keys.GENERATION_OF_ALL]
    with redis.Redis.from_url(redis_url) as client:
        assert all(0 < client.ttl(name) <= tokens.NEW_S for name in names)  # somebody may have asked for nobody
        await replicas[0].changed([42])
        assert client.ttl(names[0]) >= LIFE_S - 5
        await fleets[0].run("test", replicas[0].prolonged(42), Deadline(5))
        assert all(LIFE_S - 5 <= client.ttl(name) <= LIFE_S for name in names)
        await replicas[1].read(42, [], Deadline(5), is_stranger=True)
        assert all(client.ttl(name) >= LIFE_S - 5 for name in names)


async def test_an_evicted_token_comes_back_as_another(replicas: list[ViewerTokens], redis_url: str) -> None:
    before = await tokens_of(replicas[0])
    with redis.Redis.from_url(redis_url) as client:
        client.delete(keys.version(42), keys.generation(42))
    after = await tokens_of(replicas[1])
    assert before.version != after.version
    assert before.generation != after.generation
    assert before.everyone == after.everyone


async def test_tokens_of_a_flushed_redis_under_load_are_made_with_few_commands(
    replicas: list[ViewerTokens], redis_url: str
) -> None:
    await asyncio.gather(*(tokens_of(replica, viewer) for replica in replicas for viewer in range(1, 201)))
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 401
        assert sum(about["name"] == "amity" for about in client.client_list()) <= 6


async def test_without_redis_tokens_are_unknown_and_changes_untold(private_valkey: PrivateValkey) -> None:
    fleet = fleet_of(private_valkey.url)
    private_valkey.kill()
    replica = ViewerTokens(fleet, LIFE_S)
    assert await replica.read(42, [], Deadline(5)) is None
    assert not await replica.changed([1, 2])
    assert not await replica.drop_pools(None)
    assert await Leases(fleet).take(LEASE, "me", 1000) is None
    await Leases(fleet).release(LEASE, "me")
    await fleet.close()


async def test_nobody_changed_is_complete(replicas: list[ViewerTokens], monkeypatch: pytest.MonkeyPatch) -> None:
    assert await replicas[0].changed([])
    monkeypatch.setattr(tokens, "CHUNK", 2)
    assert await replicas[0].changed([1, 2, 3, 4])


async def test_a_lease_is_one_replicas_until_it_is_released(leases: list[Leases]) -> None:
    assert await leases[0].take(LEASE, "one", 60_000) is True
    assert await leases[1].take(LEASE, "other", 60_000) is False
    await leases[0].release(LEASE, "one")
    assert await leases[1].take(LEASE, "other", 60_000) is True


async def test_of_many_who_ask_at_once_one_gets_the_lease(leases: list[Leases]) -> None:
    taken = await asyncio.gather(*(leases[n % 2].take(LEASE, f"owner {n}", 60_000) for n in range(50)))
    assert sum(bool(one) for one in taken) == 1


async def test_a_lease_ends_with_its_life(leases: list[Leases]) -> None:
    assert await leases[0].take(LEASE, "dead", 30)
    async with asyncio.timeout(5):
        while not await leases[1].take(LEASE, "other", 60_000):  # noqa: ASYNC110 - it ends in its own time
            await asyncio.sleep(0.01)


async def test_a_late_release_leaves_the_next_owner_alone(leases: list[Leases]) -> None:
    await leases[0].take(LEASE, "next", 60_000)
    await leases[1].release(LEASE, "late")
    assert await leases[1].take(LEASE, "third", 60_000) is False


async def test_a_lease_is_released_by_a_server_that_has_forgotten_its_scripts(leases: list[Leases], redis_url: str) -> None:
    await leases[0].take(LEASE, "one", 60_000)
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    await leases[0].release(LEASE, "one")
    assert await leases[0].take(LEASE, "two", 60_000) is True


async def test_asking_again_for_ones_own_lease_is_yes(leases: list[Leases]) -> None:
    assert await leases[0].take(LEASE, "one", 60_000)
    assert await leases[0].take(LEASE, "one", 60_000)


async def test_a_write_reaches_redis_though_its_own_breaker_is_open(redis_url: str, replicas: list[ViewerTokens]) -> None:
    before = await tokens_of(replicas[1])
    breaker = Breaker("redis", failures=1)
    with pytest.raises(RedisUnavailable), breaker.guard(RedisUnavailable):
        raise RedisUnavailable
    writer = Fleet.open(redis_url, 5.0, breaker)
    assert await writer.run("any", [("PING",)], Deadline(5)) is None
    assert await ViewerTokens(writer, LIFE_S).changed([42])
    assert (await tokens_of(replicas[1])).version != before.version
    await writer.close()
