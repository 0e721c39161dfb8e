"""The fixtures that every test may ask for: real servers, started by the tests themselves."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from service.bootstrap import THREAD_VARIABLES
from service.embedded.lease import Lease, Options, join
from service.embedded.places import socket_folder
from tests.embedded import eventually, everything_stopped
from tests.servers import (
    PrivatePostgres,
    PrivateValkey,
    cloned,
    execute,
    fresh_name,
    named,
    run_home,
    run_now,
)
from tests.world import world, world_template

__all__ = ["world", "world_template"]

TEMPLATE = "amity_template"

# Hypothesis fails an example of more than 200 ms unless told otherwise, which on a busy machine any may take.
settings.register_profile("amity", deadline=None)
settings.load_profile("amity")


def pytest_configure() -> None:
    """One thread of BLAS in each test process, as training and serving have it. With two processes of two threads each on two
    cores OpenBLAS once stood still over one small matrix, its threads waiting for one another."""
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of processes wait for half of their time, for a start, a poll or an election."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that no worker ends with one of them while the others have nothing left to do. They
    are told by the longest time that a test of theirs may take."""
    allowed_s: dict[Path, float] = {}
    for item in items:
        allowed_s[item.path] = max(allowed_s.get(item.path, 0.0), _allowed_s(item))
    items.sort(key=lambda item: -allowed_s[item.path])


def _allowed_s(item: pytest.Item) -> float:
    timeout = item.get_closest_marker("timeout")
    return float(timeout.args[0]) if timeout is not None else 1.0 * (item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def servers() -> Iterator[Lease]:
    """This worker's PostgreSQL and Valkey; not durable, and gone after the run."""
    lease = join(run_home(), Options(durable=False, ephemeral=True), print)
    yield lease
    lease.release()


@pytest.fixture(scope="session")
def template_database(servers: Lease) -> str:
    """The name of a migrated database to clone."""
    from service.repositories.migrate import upgrade

    run_now(execute(servers.database_url, [f"CREATE DATABASE {TEMPLATE}"]))
    run_now(upgrade(named(servers.database_url, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def database_url(servers: Lease, template_database: str) -> Iterator[str]:
    """A migrated, empty database of the test's own, cloned from the template."""
    with cloned(servers.database_url, "test", template_database) as url:
        yield url


@pytest.fixture
def empty_database_url(servers: Lease) -> Iterator[str]:
    """A database of the test's own without any tables."""
    with cloned(servers.database_url, "empty", "template1") as url:
        yield url


@pytest.fixture
def redis_url(servers: Lease) -> str:
    """An empty Valkey that no other test uses at the same time."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
        client.config_resetstat()
    return servers.redis_url


@pytest.fixture
def second_redis_url(redis_url: str) -> str:
    """Another logical database of the same Valkey, empty too."""
    return redis_url.replace("db=0", "db=1")


@pytest.fixture
def home(servers: Lease) -> Iterator[Path]:
    """The place of a pair that the test starts itself, which must not outlive it."""
    path = run_home() / fresh_name("home")
    yield path
    assert eventually(lambda: everything_stopped(path))
    for folder in (path, socket_folder(path)):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def private_valkey(servers: Lease) -> Iterator[PrivateValkey]:
    """A Valkey that the test may kill, pause and start again."""
    with PrivateValkey() as valkey:
        yield valkey


@pytest.fixture
def private_postgres(servers: Lease) -> Iterator[PrivatePostgres]:
    """A PostgreSQL, not migrated, that the test may kill, pause and start again."""
    with PrivatePostgres() as postgres:
        yield postgres
