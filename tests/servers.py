"""Real servers for tests: what the fixtures share, and private servers that a test may kill or freeze."""

import asyncio
import contextlib
import functools
import itertools
import os
import shutil
import signal
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from service.embedded import binaries, identity
from service.embedded.places import Addresses, Home, addresses
from service.embedded.postgres import Postgres
from service.embedded.program import Report
from service.embedded.valkey import Valkey

T = TypeVar("T")
_numbers = itertools.count(1)


def run_home() -> Path:
    """The folder of this process of the test run; its keeper removes it after the process has gone.

    Each xdist worker has servers of its own: transactions of any database of a server hold back the change feed of all of them,
    so that what one worker did was missing from what another read.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "only")
    home = _roomy_folder() / f"amity-test-{os.geteuid()}-{run[:12]}-{worker}"
    home.mkdir(mode=0o755, exist_ok=True)
    return home


@functools.cache
def _roomy_folder() -> Path:
    """Memory where there is enough of it: cloning a database takes 10-20 ms there, and up to 240 ms on a slow ext4."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30
    return memory if roomy else Path("/tmp")


def fresh_name(prefix: str) -> str:
    """A name that nobody else in this run has."""
    return f"{prefix}_{os.getpid()}_{next(_numbers)}"


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, in a loop of its own that does not disturb pytest-asyncio's."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def named(database_url: str, database: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(database_url)._replace(path=f"/{database}"))


async def execute(database_url: str, statements: Sequence[str]) -> None:
    """Run each statement in autocommit."""
    connection = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def clone(server_url: str, name: str, template: str) -> str:
    """Make a database like another; its URL.

    File by file, which takes 16-26 ms: block by block, as PostgreSQL does unless told otherwise to spare a big server two
    checkpoints, takes 70-90 ms, and hundreds of tests do it.
    """
    run_now(execute(server_url, [f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"]))
    return named(server_url, name)


@contextlib.contextmanager
def cloned(server_url: str, prefix: str, template: str) -> Iterator[str]:
    """The URL of a database like another, for as long as it is needed."""
    name = fresh_name(prefix)
    yield clone(server_url, name, template)
    run_now(execute(server_url, [f"DROP DATABASE {name} WITH (FORCE)"]))


async def fetch(database_url: str, query: str) -> list[asyncpg.Record]:
    """The rows of a query."""
    connection = await asyncpg.connect(database_url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


class Server(Protocol):
    """What a PrivateServer starts and stops."""

    def start(self, report: Report) -> None: ...
    def wait_ready(self, report: Report) -> None: ...
    def died(self) -> bool: ...
    def stop(self) -> None: ...
    @property
    def pid(self) -> int: ...


class PrivateServer:
    """One server of a test's own. `kill`, `pause` and `resume` are the faults; `start` brings it back as it was."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        self._server.start(print)
        self._server.wait_ready(print)

    def stop(self) -> None:
        """Stop it in order; also when it is frozen or dead."""
        if not self._server.died():
            self.resume()
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL to the server and its children: a backend that is busy when its server dies answers once more, then ends."""
        self.pause()  # so that none is made while they are killed
        for pid in [*_children(self.pid), self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while not self._server.died():
            time.sleep(0.005)

    def pause(self) -> None:
        """SIGSTOP to the server and its children: connections stay open, nothing answers."""
        for pid in [self.pid, *_children(self.pid)]:
            with contextlib.suppress(ProcessLookupError):  # a backend that ended since it was listed
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        for pid in [self.pid, *_children(self.pid)]:
            with contextlib.suppress(ProcessLookupError):  # a backend that ended since it was listed
                os.kill(pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        return self._server.pid


class PrivateValkey(PrivateServer):
    """An empty Valkey; `url` for redis-py, `socket` for a proxy."""

    def __init__(self) -> None:
        place, sockets, found = _place()
        super().__init__(Valkey(place, sockets, binaries.valkey_server()), place.path)
        self.url = found.redis_url
        self.socket = sockets / "valkey.sock"


class PrivatePostgres(PrivateServer):
    """A PostgreSQL with the empty database `amity`; `url` for asyncpg, `socket` for a proxy. Takes 0.7 s to make."""

    def __init__(self) -> None:
        place, sockets, found = _place()
        folder = binaries.postgres_folder()
        who = identity.choose(folder / "bin" / "postgres", namespaces=True)
        identity.give(sockets, who)
        super().__init__(Postgres(place, sockets, folder / "bin", who, durable=False), place.path)
        self.url = found.database_url
        self.socket = sockets / ".s.PGSQL.5432"


def _place() -> tuple[Home, Path, Addresses]:
    home = Home(run_home() / fresh_name("private"))
    sockets = home.path / "s"
    for folder in (home.path, home.run, sockets):
        folder.mkdir(mode=0o755)
    sockets.chmod(0o700)
    return home, sockets, addresses(sockets)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []
