"""The users' side of the private servers: join them, have them started when nobody has, leave them.

    with EmbeddedServers(home) as servers:
        serve(servers.database_url, servers.redis_url)

Needs only that the home is on a local disk. Blocking; from asyncio call `join` and `Lease.release` in a thread.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import msgspec

from service.embedded import binaries, locks
from service.embedded.keeper import Order
from service.embedded.places import Addresses, Home
from service.embedded.program import START_LIMIT_S, Report, with_tail
from service.errors import EmbeddedServerError

WATCH_S = 0.5
RETRY_S = 5.0
LEAVE_LIMIT_S = 75.0  # a fast shutdown that writes 128 MB to a slow disk
SOURCE_ROOT = Path(__file__).resolve().parents[2]


class Options(msgspec.Struct, frozen=True):
    """How the pair is kept. Those who join a running pair get it as it was started."""

    durable: bool = True
    """False: no fsync, for tests."""
    ephemeral: bool = False
    """The last to leave has the home removed."""
    namespaces: bool = True
    """False: as on a kernel that refuses user namespaces."""


def _silent(line: str) -> None:
    """Reports nothing."""


class Lease:
    """The right to use the pair of a home, until `release` or the end of this process.

    If the keeper is killed, its servers end with it, and this process, or another user, has them back within a second
    or two at the same addresses.
    """

    def __init__(self, home: Home, users: int, options: Options, found: Addresses) -> None:
        self.database_url = found.database_url
        self.redis_url = found.redis_url
        self._home = home
        self._users = users
        self._options = options
        self._released = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="embedded-servers", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        pause_s = WATCH_S
        while not self._released.wait(pause_s):
            pause_s = WATCH_S
            if locks.is_free(self._home.keeper_lock):
                try:
                    _ensure_keeper(self._home, self._options, _silent)
                except EmbeddedServerError:
                    pause_s = RETRY_S  # the reason is in keeper.log; the users see the servers away meanwhile

    def release(self, report: Report = _silent) -> None:
        """Leave; the last to do so waits until both servers have stopped. Does nothing the second time."""
        if self._released.is_set():
            return
        self._released.set()
        self._watcher.join()
        os.close(self._users)
        _wait_if_last(self._home, report)


class EmbeddedServers:
    """`join` and `release` as a context manager."""

    def __init__(self, home: Path, options: Options | None = None, report: Report = _silent) -> None:
        self._home = home
        self._options = options or Options()
        self._report = report
        self._lease: Lease | None = None

    def __enter__(self) -> Lease:
        self._lease = join(self._home, self._options, self._report)
        return self._lease

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lease is not None:
            self._lease.release(self._report)


def join(home: Path, options: Options | None = None, report: Report = _silent) -> Lease:
    """A lease on the pair of this home, started when nobody uses it yet; raises EmbeddedServerError.

    `report` receives a line of progress now and then.
    """
    options = options or Options()
    place = Home(Path(os.path.realpath(home)))
    try:
        place.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = locks.take(place.users_lock, exclusive=False, timeout_s=LEAVE_LIMIT_S)
    except (OSError, locks.LockTimeout) as error:
        raise EmbeddedServerError(f"the private servers of {place.path} cannot be joined: {error}") from error
    try:
        return Lease(place, users, options, _ensure_keeper(place, options, report))
    except BaseException:
        os.close(users)
        raise


def _ensure_keeper(home: Home, options: Options, report: Report) -> Addresses:
    """The addresses of the running pair, which is started when no keeper lives. The caller holds the users' lock."""
    try:
        start = locks.take(home.start_lock, exclusive=True, timeout_s=START_LIMIT_S)
    except (OSError, locks.LockTimeout) as error:
        raise EmbeddedServerError(f"the private servers of {home.path} cannot be joined: {error}") from error
    try:
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            mine = locks.open_lock(home.keeper_lock)
            try:
                if locks.try_lock(mine, exclusive=True):
                    return _start_keeper(home, options, mine, report)
                kept = not locks.try_lock(mine, exclusive=False)  # else it was only somebody who looked
            finally:
                os.close(mine)
            found = Addresses.read(home.state) if kept else None
            if found is not None:
                return found
            time.sleep(locks.POLL_S)  # the keeper was started by somebody who died since, or is stopping
        raise EmbeddedServerError(f"the keeper of {home.path} does not answer; see {home.log('keeper')}")
    finally:
        os.close(start)


def _start_keeper(home: Home, options: Options, keeper_lock: int, report: Report) -> Addresses:
    """Start a keeper that inherits the held lock, and hear from it until the servers answer."""
    home.state.unlink(missing_ok=True)
    try:
        order = Order(
            home=str(home.path),
            postgres_folder=str(binaries.postgres_folder()),
            valkey_server=str(binaries.valkey_server()),
            keeper_lock=keeper_lock,
            report=-1,
            **msgspec.structs.asdict(options),
        )
    except binaries.BinariesMissing as error:
        raise EmbeddedServerError(str(error)) from error
    reader, writer = os.pipe()
    try:
        _launch(home, order, writer)
    finally:
        os.close(writer)
    with os.fdopen(reader) as lines:
        for line in lines:
            said = json.loads(line)
            if said["kind"] == "ready":
                return Addresses(**said["value"])
            if said["kind"] == "failed":
                raise EmbeddedServerError(said["value"])
            report(said["value"])
    raise EmbeddedServerError(with_tail(f"the keeper of {home.path} ended early", home.log("keeper")))


def _launch(home: Home, order: Order, writer: int) -> None:
    text = json.dumps(asdict(order) | {"report": writer})
    log = os.open(home.log("keeper"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        subprocess.run(
            [sys.executable, "-m", "service.embedded.keeper", text],
            cwd=SOURCE_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(order.keeper_lock, writer),
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedServerError(with_tail(f"the keeper cannot be started: {error}", home.log("keeper"))) from error
    finally:
        os.close(log)


def _wait_if_last(home: Home, report: Report) -> None:
    """Return when others use the pair, or when it has stopped."""
    end = time.monotonic() + LEAVE_LIMIT_S
    told = False
    while time.monotonic() < end and not locks.is_free(home.keeper_lock):
        with contextlib.suppress(FileNotFoundError):  # an ephemeral home has just been removed
            if _others(home.users_lock):
                return
        if not told:
            report("stopping the private PostgreSQL and Valkey")
            told = True
        time.sleep(locks.POLL_S)


def _others(users_lock: Path) -> bool:
    """Whether somebody holds the lock as a user (the keeper, when it stops, holds it alone)."""
    descriptor = os.open(users_lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not locks.try_lock(descriptor, exclusive=True) and locks.try_lock(descriptor, exclusive=False)
    finally:
        os.close(descriptor)
