"""Figures of several replicas in a real Valkey, and of real replicas, of which some are killed."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from service.embedded.lease import Lease
from service.errors import Unavailable
from service.fleet.client import Fleet
from service.fleet.figures import FleetFigures, Span
from service.recommend.fleet_performance import FleetPerformance
from service.recommend.performance import Observation, Performance
from service.repositories.database import Database
from service.repositories.users import Users
from service.resilience import Breaker, Deadline
from tests.embedded import eventually
from tests.fakes import FakeClock, person
from tests.proxy import Proxy
from tests.replicas import PATIENT, Replica, replicas
from tests.servers import PrivateValkey, cloned, run_now
from tests.valkeys import ValkeyCluster

TOLD_S = 15.0
OBSERVED = Observation(
    algorithm_version="v1",
    generation_ms=2.0,
    n_candidates=100,
    cached=True,
    degraded=False,
    error=False,
    stages_ms={"ranking": 1.0},
)


MINUTE = Span("m", 7)


class Recorded(Fleet):
    """Remembers what it sent last."""

    sent: Sequence[Any] = ()

    async def run(self, what: str, commands: Sequence[Any], deadline: Deadline, insists: bool = False) -> list[Any] | None:
        self.sent = commands
        return await super().run(what, commands, deadline)


class Some:
    """Several replicas in this process, each with a connection of its own and all with one clock."""

    def __init__(self, urls: list[str], timeout_s: float) -> None:
        self.clock = FakeClock()
        self.clock.elapsed_s = 10_000.0
        self._fleets = [Fleet.open(url, timeout_s, Breaker("redis", cool_down_s=0.0)) for url in urls]
        self.own = [Performance(self.clock.monotonic) for _ in urls]
        self.told = [FleetPerformance(own, FleetFigures(fleet)) for own, fleet in zip(self.own, self._fleets, strict=True)]

    async def serve(self, n_seconds: int = 1) -> None:
        """One request a second to each replica, told as in life."""
        for _ in range(n_seconds):
            self.clock.elapsed_s += 1.0
            for own, told in zip(self.own, self.told, strict=True):
                own.observe(OBSERVED)
                await told.flush()

    async def requests(self, window_s: int = 3600) -> list[int]:
        """What each replica says of the fleet."""
        return [(await told.report(window_s)).requests for told in self.told]

    async def close(self) -> None:
        for fleet in self._fleets:
            await fleet.close()


@asynccontextmanager
async def some(*urls: str, timeout_s: float = 2.0) -> AsyncIterator[Some]:
    opened = Some(list(urls), timeout_s)
    yield opened
    await opened.close()


async def test_every_replica_reports_the_sum_over_any_window(redis_url: str) -> None:
    async with some(redis_url, redis_url, redis_url) as three:
        await three.serve(200)
        for window_s in (1, 2, 59, 60, 61, 120, 199, 200, 3600):
            assert await three.requests(window_s) == [3 * min(window_s, 200)] * 3
        report = await three.told[0].report(60)
        assert (report.replicas, report.errors, report.cache_hit_rate, report.avg_candidate_count) == (3, 0, 1.0, 100.0)
        assert report.stages["ranking"].p99_ms == pytest.approx(1.0, rel=0.04)


async def test_a_cluster_holds_the_figures_of_each_second_wherever_its_slot_is() -> None:
    with ValkeyCluster() as cluster:
        async with some(cluster.url, cluster.url) as two:
            await two.serve(70)
            assert [await two.requests(window_s) for window_s in (30, 70)] == [[60, 60], [140, 140]]
        assert all(node.ask("DBSIZE") > 0 for node in cluster.nodes)


async def test_everything_in_redis_lapses_and_a_quiet_second_costs_nothing(redis_url: str) -> None:
    async with some(redis_url) as one:
        await one.serve(5)
        one.clock.elapsed_s += 100
        await one.told[0].flush()
    with redis.Redis.from_url(redis_url) as client:
        lives = [client.ttl(key) for key in client.scan_iter("amity:performance:*")]
        # Five seconds in one minute, and the mark of the replica.
        assert len(lives) == 7
        assert all(3600 < life <= 3720 for life in lives)


async def test_a_restarted_redis_is_told_the_whole_hour_again(private_valkey: PrivateValkey) -> None:
    async with some(private_valkey.url, private_valkey.url) as two:
        await two.serve(150)
        private_valkey.kill()
        await two.serve(5)
        with pytest.raises(Unavailable, match="scope=replica"):
            await two.told[0].report(60)
        private_valkey.start()
        await two.serve(6)
        assert [await two.requests(window_s) for window_s in (3, 100, 3600)] == [[6, 6], [200, 200], [322, 322]]


async def test_a_redis_that_was_emptied_between_two_minutes_is_told_again(redis_url: str) -> None:
    async with some(redis_url, redis_url) as two:
        await two.serve(20)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        two.clock.elapsed_s += 60
        await two.serve(3)
        assert await two.requests() == [46, 46]


async def test_flushes_whose_replies_were_lost_are_counted_once(private_valkey: PrivateValkey) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(private_valkey.socket))
        url = f"redis://127.0.0.1:{proxy.port}/0"
        two = await stack.enter_async_context(some(url, private_valkey.url, timeout_s=0.3))
        await two.serve(3)
        for _ in range(3):
            proxy.freeze()
            await two.serve()  # does not arrive in time,
            proxy.thaw()
            await asyncio.sleep(0.05)  # and then it does, with nobody left to be told
        await two.serve()
        assert [await two.requests(window_s) for window_s in (7, 3600)] == [[14, 14], [14, 14]]


async def test_a_flush_that_comes_late_does_not_undo_a_later_one(redis_url: str) -> None:
    fleet = Recorded.open(redis_url, 2.0, Breaker("redis"))
    assert isinstance(fleet, Recorded)
    teller, asker = FleetFigures(fleet), FleetFigures(fleet)
    await teller.put([(MINUTE, b"early")])
    late = fleet.sent
    await teller.put([(MINUTE, b"whole")])
    await fleet.run("late", late, Deadline(2))
    found = [row async for rows in asker.others([MINUTE], Deadline(2)) for _, row in rows]
    await fleet.close()
    assert found == [b"whole"]


async def test_rubbish_in_the_place_of_figures_counts_nothing_and_gives_way(redis_url: str) -> None:
    async with some(redis_url, redis_url) as two:
        await two.serve(2)
        with redis.Redis.from_url(redis_url) as client:
            for key in client.scan_iter("amity:performance:*"):
                client.set(key, b"\xff rubbish")
            client.hset("amity:performance:m:167", "stranger", b"\xff rubbish")
        reports = [await told.report(3600) for told in two.told]
        assert [(one.requests, one.replicas) for one in reports] == [(2, 1)] * 2  # its own
        await two.serve(2)
        assert (await two.requests())[0] >= 6


async def test_what_a_full_redis_refused_does_not_count_as_kept(private_valkey: PrivateValkey) -> None:
    with redis.Redis.from_url(private_valkey.url) as client:
        client.config_set("maxmemory", "1")
    fleet = Fleet.open(private_valkey.url, 2.0, Breaker("redis"))
    put = await FleetFigures(fleet).put([(MINUTE, b"row")])
    await fleet.close()
    assert (put.kept, put.forgotten) == (frozenset(), False)


async def test_figures_that_a_full_redis_refused_are_told_when_there_is_room(private_valkey: PrivateValkey) -> None:
    with redis.Redis.from_url(private_valkey.url) as client:
        async with some(private_valkey.url, private_valkey.url) as two:
            client.config_set("maxmemory", "1")
            await two.serve(4)
            assert await two.requests() == [4, 4]
            client.config_set("maxmemory", "0")
            await two.serve(3)
            # By seconds, and by the minute that holds them all.
            assert [await two.requests(window_s) for window_s in (7, 3600)] == [[14, 14], [14, 14]]


@dataclass(frozen=True, slots=True)
class Served:
    """Two replicas that live through the module's tests, and what others need to join them."""

    pair: tuple[Replica, Replica]
    settings: dict[str, str]
    valkey: PrivateValkey


@pytest.fixture(scope="module")
def served(servers: Lease, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("figures")
    with cloned(servers.database_url, "figures", template_database) as database_url, PrivateValkey() as valkey:
        run_now(_store_people(database_url))
        settings = PATIENT | {"AMITY_HOME": str(home), "AMITY_DATABASE_URL": database_url, "AMITY_REDIS_URL": valkey.url}
        with replicas(settings, home, count=2) as (one, other):
            yield Served((one, other), settings, valkey)
            assert one.metric("amity_unexpected_errors_total") + other.metric("amity_unexpected_errors_total") == 0


async def _store_people(database_url: str) -> None:
    database = Database(database_url)
    await Users(database.sessions).put_many([person(number) for number in range(1, 11)])
    await database.close()


def serve(replica: Replica, n: int) -> None:
    for number in range(n):
        replica.recommend(1 + number % 10, algorithm_version="heuristic")


def reported(replica: Replica, scope: str = "fleet") -> dict[str, Any]:
    """The last hour, as long as the module's tests can take."""
    answer = replica.client.get("/api/v1/recommendations/performance", params={"scope": scope, "window_s": 3600})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def counts(body: dict[str, Any]) -> dict[str, int]:
    return {name: body[name] for name in ("requests", "errors", "degraded")}


def test_real_replicas_report_the_sum_of_what_each_reports_of_itself(served: Served) -> None:
    for replica, n in zip(served.pair, (7, 12), strict=True):
        serve(replica, n)
    own = [counts(reported(replica, "replica")) for replica in served.pair]
    total = {name: sum(one[name] for one in own) for name in own[0]}
    assert total["requests"] >= 19
    for replica in served.pair:
        assert eventually(lambda replica=replica: counts(reported(replica)) == total, TOLD_S)  # type: ignore[misc]
    fleet = [reported(replica) for replica in served.pair]
    assert fleet[0] == fleet[1]
    assert sum(one["requests"] for one in fleet[0]["by_algorithm_version"].values()) == total["requests"]
    assert (fleet[0]["scope"], fleet[0]["replicas"]) == ("fleet", 2)


def test_a_killed_replica_leaves_what_it_had_told(served: Served, tmp_path: Path) -> None:
    before = reported(served.pair[0])["requests"]
    with Replica(served.settings, tmp_path / "victim.log") as victim:
        serve(victim, 5)
        assert eventually(lambda: reported(served.pair[0])["requests"] >= before + 5, TOLD_S)
        victim.kill()
    assert reported(served.pair[0])["requests"] == reported(served.pair[1])["requests"] == before + 5


def test_a_replica_that_is_stopped_tells_its_last_second(served: Served, tmp_path: Path) -> None:
    before = reported(served.pair[0])["requests"]
    with Replica(served.settings, tmp_path / "stopped.log") as stopped:
        serve(stopped, 5)
        stopped.terminate()
        assert stopped.wait() == 0
    assert reported(served.pair[0])["requests"] == before + 5


def test_while_redis_is_away_only_the_replica_itself_is_reported_and_then_everything_again(served: Served) -> None:
    one, other = served.pair
    before = reported(one)["requests"]
    own = reported(one, "replica")["requests"]
    served.valkey.kill()
    try:
        serve(one, 3)
        refused = one.client.get("/api/v1/recommendations/performance")
        assert reported(one, "replica")["requests"] == own + 3
    finally:
        served.valkey.start()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "scope=replica" in refused.json()["detail"]
    # What a replica that is gone had told went with Redis; the living tell theirs again.
    living = reported(one, "replica")["requests"] + reported(other, "replica")["requests"]
    assert living <= before + 3
    for replica in served.pair:
        assert eventually(lambda replica=replica: _reports(replica, living), TOLD_S)  # type: ignore[misc]


def _reports(replica: Replica, n_requests: int) -> bool:
    answer = replica.client.get("/api/v1/recommendations/performance", params={"window_s": 3600})
    return answer.status_code == 200 and answer.json()["requests"] == n_requests
