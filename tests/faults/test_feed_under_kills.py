"""Whatever happens to writers, connections, the server and the replica: in the end memory says what the database says."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from service.domain import Kind, Status
from service.errors import AmityError
from service.population.feed import ChangeFeed
from service.population.holder import PopulationHolder
from service.repositories.database import Database
from service.repositories.failures import DRIVER_ERRORS
from service.repositories.locks import WRITERS
from service.repositories.migrate import upgrade
from tests.integration.population_world import World, running, soon
from tests.integration.repo_builders import did, person, pruned
from tests.proxy import Proxy
from tests.servers import PrivatePostgres

PEOPLE = range(1, 41)
LAST = 1_000
"""Put when all writers have ended."""

N_WRITERS, N_LONG = 5, 2
N_BEFORE = 150
MINUTES = 100_000


class Crowd:
    """Writers that go on, each on connections of its own, whatever breaks under them, until `end`."""

    def __init__(self, server: PrivatePostgres, folder: Path) -> None:
        self.server = server
        self.done: dict[str, int] = {}
        self._ends = asyncio.Event()
        self._folder = folder

    def end(self) -> None:
        self._ends.set()

    async def write(self, seed: int) -> None:
        draw = random.Random(seed)
        world = World(Database(self.server.url, timeout_s=2.0), self._folder / f"writer-{seed}")
        while not self._ends.is_set():
            await asyncio.sleep(0.002)  # a socket that nobody listens on refuses without giving anybody a turn
            with suppress(AmityError):  # the connection was killed, or the person was erased: an act that did not happen, or did
                self._count(await act(world, draw))
        await world.database.close()

    async def write_long(self, seed: int) -> None:
        """Transactions of up to half a second, by SQL of their own, of which a third are rolled back."""
        draw = random.Random(seed)
        while not self._ends.is_set():
            await asyncio.sleep(0.002)
            with suppress(*DRIVER_ERRORS):  # killed, or chosen as the victim of a deadlock
                connection = await asyncpg.connect(self.server.url, timeout=2.0)
                try:
                    self._count(await act_long(connection, draw))
                finally:
                    await connection.close(timeout=1.0)

    async def kill_backends(self, seed: int) -> None:
        """Every 150 ms one connection of anyone's, in the middle of whatever it does."""
        draw = random.Random(seed)
        while not self._ends.is_set():
            await asyncio.sleep(0.15)
            with suppress(*DRIVER_ERRORS):  # the server itself is being killed
                connection = await asyncpg.connect(self.server.url, timeout=2.0)
                query = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
                pids = [row[0] for row in await connection.fetch(query)]
                if pids:
                    await connection.execute("select pg_terminate_backend($1)", draw.choice(pids))
                    self._count("kill")
                await connection.close(timeout=1.0)

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1


async def act(world: World, draw: random.Random) -> str:
    one, other = draw.sample(PEOPLE, 2)
    match draw.randrange(20):
        case 0:
            return "erased" if await world.users.erase(one) else "nobody"
        case 1 | 2 | 3:
            await world.users.put_many([person(one, bio=f"{draw.random()}"), person(other, age=draw.randrange(18, 90))])
            return "put"
        case 4 | 5:
            await world.users.patch(one, {"status": draw.choice(list(Status)), "gender": draw.choice(["x", None])})
            return "patched"
        case 6:
            await world.users.patch(one, {"last_active_at": did(1, Kind.LIKE, 2, draw.randrange(MINUTES)).occurred_at})
            return "active"
        case _:
            minute = draw.randrange(MINUTES)
            kinds = draw.choices([kind for kind in Kind if kind is not Kind.UNMATCH], k=draw.randrange(1, 4))
            events = [did(one, kind, other, minute + later) for later, kind in enumerate(kinds)]
            await world.interactions.record(events)
            return "recorded"


async def act_long(connection: asyncpg.Connection, draw: random.Random) -> str:
    """Opinions, blocks and profiles changed by somebody else's SQL, which holds up erasures as all writers do."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select pg_advisory_xact_lock_shared($1)", WRITERS)
    for _ in range(draw.randrange(1, 6)):
        family, kind = draw.choice([(1, "like"), (1, "pass"), (1, "unlike"), (2, "block"), (2, "unblock")])
        await connection.execute(
            "insert into interactions (actor_id, target_id, family, event_key, kind, occurred_at) "
            "select one.id, other.id, $1, '', $2, now() from users one, users other "
            "where one.id <> other.id and one.id = any($3) and other.id = any($4) order by 1, 2 "
            "on conflict (actor_id, target_id, family, event_key) do update set kind = excluded.kind, occurred_at = now()",
            family,
            kind,
            draw.sample(PEOPLE, 3),
            draw.sample(PEOPLE, 3),
        )
    await connection.execute("update users set bio = 'long' || $2::text where id = $1", draw.choice(PEOPLE), str(draw.random()))
    await asyncio.sleep(draw.random() * 0.5)
    if draw.random() < 0.33:
        await transaction.rollback()
        return "rolled back"
    await transaction.commit()
    return "committed late"


@pytest.fixture
async def server() -> AsyncIterator[PrivatePostgres]:
    with PrivatePostgres() as postgres:
        await upgrade(postgres.url)
        yield postgres


@asynccontextmanager
async def crowded(server: PrivatePostgres, folder: Path, *, kills: bool) -> AsyncIterator[Crowd]:
    """A crowd that writes beside the body, and has ended after it."""
    crowd = Crowd(server, folder)
    works = [crowd.write(seed) for seed in range(N_WRITERS)] + [crowd.write_long(100 + seed) for seed in range(N_LONG)]
    works += [crowd.kill_backends(7)] if kills else []
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield crowd
    finally:
        crowd.end()
        await asyncio.gather(*tasks)
    assert min(crowd.done.get(what, 0) for what in ("erased", "put", "patched", "recorded", "committed late", "rolled back")) > 0


async def settled(server: PrivatePostgres, folder: Path) -> World:
    """Forty people with a past, in a bundle."""
    world = World(Database(server.url), folder)
    await world.users.put_many([person(one) for one in PEOPLE])
    draw = random.Random(3)
    for _ in range(N_BEFORE):
        with suppress(AmityError):  # of somebody who was erased
            await act(world, draw)
    await world.publish("b1")
    return world


async def assert_ends_equal(world: World, *replicas: PopulationHolder[str]) -> None:
    await world.users.put(person(LAST))
    for holder in replicas:
        await soon(partial(_knows_all, world, holder))
        await world.assert_mirrors(holder.current)


async def _knows_all(world: World, holder: PopulationHolder[str]) -> bool:
    """The last person, and all that was read with them: people come first of what is read at once, what they did after."""
    return holder.current.row(LAST) is not None and not await world.changes.read(holder.current.position)


async def restarted(through: World, stack: AsyncExitStack) -> tuple[PopulationHolder[str], ChangeFeed]:
    """A replica that begins at the bundle's position again, and runs. It tries until the database lets it."""
    while True:
        await asyncio.sleep(0.01)
        with suppress(AmityError):  # its connection was killed too
            holder, feed = await through.replica()
            await stack.enter_async_context(running(feed.run()))
            return holder, feed


async def test_killed_backends_cut_connections_and_a_crashed_server_lose_nothing(server: PrivatePostgres, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(server.socket))
        world = await settled(server, tmp_path)
        through = World(Database(f"postgresql://amity@127.0.0.1:{proxy.port}/amity", timeout_s=1.0), tmp_path)
        first, _ = await restarted(through, stack)
        async with crowded(server, tmp_path, kills=True) as crowd:
            await asyncio.sleep(2)
            await proxy.cut()
            await asyncio.sleep(1)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await asyncio.sleep(1)
            second, _ = await restarted(through, stack)
            await asyncio.sleep(2)
        assert crowd.done["kill"] > 5
        await assert_ends_equal(world, first, second)
        await world.database.close()
        await through.database.close()


async def test_gap_is_closed_while_writers_go_on(server: PrivatePostgres, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(server.socket))
        world = await settled(server, tmp_path)
        through = World(Database(f"postgresql://amity@127.0.0.1:{proxy.port}/amity", timeout_s=1.0), tmp_path)
        holder, _ = await restarted(through, stack)
        people = holder.current
        async with crowded(server, tmp_path, kills=False):
            await asyncio.sleep(1)
            await proxy.refuse()
            await asyncio.sleep(1)
            assert await prune_all(world) > 0
            assert await world.changes.has_gap(people.position)
            await proxy.restore()
            await soon(lambda: _closed(world, holder))
            await asyncio.sleep(1)
            late, _ = await restarted(through, stack)
        await assert_ends_equal(world, holder, late)
        assert holder.current is people
        assert late.current.bundle_version == "b1"
        await world.database.close()
        await through.database.close()


async def _closed(world: World, holder: PopulationHolder[str]) -> bool:
    return not await world.changes.has_gap(holder.current.position)


async def prune_all(world: World) -> int:
    async with world.database.sessions() as session:
        await session.execute(text("update changes set recorded_at = now() - interval '30 days'"))
        await session.commit()
    return await pruned(world.database, 14)
