"""Commands to a real Valkey: shared, bounded, and Redis away in each of its ways."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop

from service.fleet.client import Fleet, Refused
from service.metrics import REGISTRY
from service.resilience import Breaker, Deadline
from tests.fakes import FakeClock
from tests.proxy import Proxy
from tests.servers import PrivateValkey
from tests.valkeys import Certificates, TlsProxy, ValkeyNode, free_ports, wait_until

TIMEOUT_S = 5.0
"""For what has to succeed on a machine that is busy with other tests."""
HASTE_S = 0.2
"""For what is to be given up."""


@asynccontextmanager
async def opened(url: str, clock: FakeClock | None = None, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Fleet]:
    fleet = Fleet.open(url, timeout_s, Breaker("redis", 3, 2.0, (clock or FakeClock()).monotonic))
    yield fleet
    await fleet.close()


async def put(fleet: Fleet, *pairs: tuple[str, str]) -> None:
    assert await fleet.run("test", [("SET", key, value) for key, value in pairs], Deadline(5)) is not None


async def read(fleet: Fleet, *keys: str, seconds: float = 5) -> list[bytes | None] | None:
    return await fleet.get(keys, Deadline(seconds))


def statistics(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(url) as client:
        return {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in client.info("commandstats").items()}


async def test_what_one_replica_stores_another_reads(redis_url: str) -> None:
    async with opened(redis_url) as one, opened(redis_url) as other:
        await put(one, ("a", "1"), ("b", "2"))
        assert await read(other, "b", "c", "a") == [b"2", None, b"1"]
        assert await read(other) == []


async def test_all_who_read_in_one_turn_share_one_command(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        await put(fleet, *((f"k{n}", str(n)) for n in range(32)))
        got = await asyncio.gather(*(read(fleet, f"k{n}", "none") for n in range(32)))
    assert got == [[str(n).encode(), None] for n in range(32)]
    assert statistics(redis_url)["mget"] == 1


async def test_replies_are_raw_and_a_refused_command_leaves_the_others(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        commands: list[tuple[Any, ...]] = [
            ("SET", "k", b"\xff\x00"),
            ("LPUSH", "k", 1),
            ("GET", "k"),
            ("INCRBY", "n", 5),
            ("GET", "x"),
        ]
        replies = await fleet.run("test", commands, Deadline(5))
    assert replies is not None
    assert [replies[0], *replies[2:]] == [b"OK", b"\xff\x00", 5, None]
    assert isinstance(replies[1], Refused)
    assert "WRONGTYPE" in replies[1].reason


async def test_a_key_of_another_type_is_read_as_absent(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        await fleet.run("test", [("LPUSH", "list", "x"), ("SET", "k", "v")], Deadline(5))
        assert await read(fleet, "list", "k") == [None, b"v"]


async def test_a_crowd_needs_a_few_connections(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        await asyncio.gather(*(put(fleet, (f"k{n}", "v")) for n in range(300)), *(read(fleet, "k1") for _ in range(300)))
        with redis.Redis.from_url(redis_url) as client:
            names = [about["name"] for about in client.client_list()]
    assert 1 <= names.count("amity") <= 3


async def test_a_database_is_chosen_by_the_url(redis_url: str, second_redis_url: str) -> None:
    async with opened(redis_url) as first, opened(second_redis_url) as second:
        await put(second, ("k", "v"))
        assert await read(first, "k") == [None]
        assert await read(second, "k") == [b"v"]


async def test_connections_that_the_server_closed_cost_nobody_an_answer(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        await put(fleet, ("k", "v"))
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        assert await read(fleet, "k") == [b"v"]
        assert await fleet.ping()


async def test_a_redis_that_hangs_costs_its_timeout_only_a_few_times(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with opened(private_valkey.url, clock, HASTE_S) as fleet:
        await put(fleet, ("k", "v"))
        private_valkey.pause()
        started = time.monotonic()
        looks = [await read(fleet, "k") for _ in range(50)]
        spent_s = time.monotonic() - started
        private_valkey.resume()
        assert looks == [None] * 50
        assert spent_s < 50 * HASTE_S / 2  # each of the fifty would have cost its timeout
        assert not await fleet.ping()
        clock.elapsed_s = 3.0
        assert await read(fleet, "k") == [b"v"]


async def test_a_deadline_shorter_than_the_timeout_gives_none_and_is_no_failure(private_valkey: PrivateValkey) -> None:
    async with opened(private_valkey.url, timeout_s=20) as fleet:
        await put(fleet, ("k", "v"))
        private_valkey.pause()
        patient = asyncio.create_task(read(fleet, "k", seconds=10))
        for _ in range(5):
            assert await read(fleet, "k", seconds=0.01) is None
            assert await fleet.run("test", [("PING",)], Deadline(0.01)) is None
        private_valkey.resume()
        assert await patient == [b"v"]
        assert await read(fleet, "k") == [b"v"]


async def test_a_redis_that_was_killed_is_found_again_when_it_is_back(private_valkey: PrivateValkey) -> None:
    clock = FakeClock()
    async with opened(private_valkey.url, clock) as fleet:
        await put(fleet, ("k", "v"))
        private_valkey.kill()
        assert [await read(fleet, "k") for _ in range(5)] == [None] * 5
        assert await fleet.publish(b"news") is False
        private_valkey.start()
        clock.elapsed_s = 3.0
        assert await read(fleet, "k") == [None]


async def test_a_network_that_swallows_everything_is_none(private_valkey: PrivateValkey) -> None:
    async with Proxy(private_valkey.socket) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0", timeout_s=HASTE_S) as fleet:
        await put(fleet, ("k", "v"))
        proxy.freeze()
        assert await read(fleet, "k") is None
        proxy.thaw()
        assert await read(fleet, "k") == [b"v"]


async def test_a_network_that_breaks_connections_costs_nobody_an_answer(private_valkey: PrivateValkey) -> None:
    async with Proxy(private_valkey.socket) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as fleet:
        await put(fleet, ("k", "v"))
        await proxy.cut()
        assert await read(fleet, "k") == [b"v"]
        await proxy.refuse()
        assert await read(fleet, "k") is None


async def test_who_gives_up_while_redis_hangs_leaves_the_others_their_answer(private_valkey: PrivateValkey) -> None:
    async with opened(private_valkey.url, timeout_s=20) as fleet:
        await put(fleet, ("k", "v"))
        private_valkey.pause()
        looks = [asyncio.create_task(read(fleet, "k", seconds=20)) for _ in range(10)]
        await asyncio.sleep(0.01)
        for look in looks[::2]:
            look.cancel()
        private_valkey.resume()
        assert await asyncio.gather(*looks[1::2]) == [[b"v"]] * 5


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_answer_that_came_while_the_event_loop_was_held_up_is_taken(redis_url: str, run: Any) -> None:
    async def story() -> list[list[bytes | None] | None]:
        answers = []
        async with opened(redis_url, timeout_s=0.3) as fleet:
            await put(fleet, ("k", "v"))
            for _ in range(2):
                look = asyncio.create_task(read(fleet, "k"))
                for _ in range(3):
                    await asyncio.sleep(0)  # it is on its way
                time.sleep(0.5)  # noqa: ASYNC251 - as a CPU quota does
                answers.append(await look)
        return answers

    assert run(story()) == [[b"v"], [b"v"]]


def test_the_event_loop_that_serves_is_as_good_as_asyncios(private_valkey: PrivateValkey) -> None:
    async def story() -> None:
        async with opened(private_valkey.url, timeout_s=20) as fleet:
            await put(fleet, ("k", "v"))
            assert await asyncio.gather(*(read(fleet, "k") for _ in range(40))) == [[b"v"]] * 40
            private_valkey.pause()
            patient = asyncio.create_task(read(fleet, "k", seconds=20))
            assert await asyncio.gather(*(read(fleet, "k", seconds=0.01 * n) for n in range(5))) == [None] * 5
            private_valkey.resume()
            assert await patient == [b"v"]
            private_valkey.kill()
            assert await read(fleet, "k") is None
            private_valkey.start()
            assert await read(fleet, "k") == [None]

    uvloop.run(story())


async def test_a_wrong_password_is_redis_away(servers: object) -> None:
    (port,) = free_ports(1)
    with ValkeyNode(port) as node:
        node.ask("CONFIG", "SET", "requirepass", "s3cret")
        async with opened(f"redis://:wrong@127.0.0.1:{port}") as wrong, opened(f"redis://:s3cret@127.0.0.1:{port}") as right:
            assert await read(wrong, "k") is None
            assert await read(right, "k") == [None]


async def test_a_server_that_is_no_master_any_more_is_redis_away(servers: object) -> None:
    (port,) = free_ports(1)
    with ValkeyNode(port) as node:
        async with opened(f"redis://127.0.0.1:{port}") as fleet:
            await put(fleet, ("k", "v"))
            node.ask("REPLICAOF", "127.0.0.1", "1")
            assert await fleet.run("test", [("SET", "k", "w"), ("GET", "k")], Deadline(5)) is None


async def test_a_full_redis_refuses_what_would_grow_it_and_answers_the_rest(private_valkey: PrivateValkey) -> None:
    async with opened(private_valkey.url) as fleet:
        await put(fleet, ("k", "v"))
        settings = [("CONFIG", "SET", "maxmemory-policy", "noeviction"), ("CONFIG", "SET", "maxmemory", "1")]
        await fleet.run("test", settings, Deadline(5))
        replies = await fleet.run("test", [("SET", "l", "w"), ("GET", "k")], Deadline(5))
        assert replies is not None
        assert isinstance(replies[0], Refused)
        assert await read(fleet, "k") == [b"v"]


async def test_what_redis_refuses_is_counted_by_the_command(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        await put(fleet, ("k", "v"))
        await fleet.run("test refusals", [("LPUSH", "k", "w"), ("GET", "k")], Deadline(5))
    assert REGISTRY.get_sample_value("amity_redis_refused_total", {"command": "test refusals"}) == 1


async def test_closing_leaves_no_connection(redis_url: str) -> None:
    async with opened(redis_url) as fleet:
        await asyncio.gather(put(fleet, ("k", "v")), read(fleet, "k"), fleet.publish(b"x"))
    await asyncio.sleep(0.01)  # the event loop closes sockets in its next turn
    with redis.Redis.from_url(redis_url) as client:
        wait_until(lambda: "amity" not in {about["name"] for about in client.client_list()})


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_tls_is_spoken_with_certificates_of_both_sides(private_valkey: PrivateValkey, certificates: Certificates) -> None:
    ours = f"ssl_ca_certs={certificates.authority}&ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
    async with TlsProxy(private_valkey.socket, certificates) as proxy:
        async with opened(f"rediss://127.0.0.1:{proxy.port}/0?{ours}") as fleet:
            await put(fleet, ("k", "v"))
            assert await read(fleet, "k") == [b"v"]
        async with opened(f"rediss://127.0.0.1:{proxy.port}/0") as stranger:
            assert await read(stranger, "k") is None  # it knows no authority that signed the server
