"""The keeper: a detached process that starts both servers, starts them again when they die, and stops them after the
last user has gone.

Every user holds a shared lock on one file. The keeper tries the exclusive one ten times a second: it gets it only when
no user is left, also when users were killed. When the keeper itself is killed, the kernel ends its servers (on Linux).
Only the standard library is imported, so that it is there in 40 ms and small.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from service.embedded import identity, locks
from service.embedded.places import Home, PlaceUnusable, addresses, make_private, socket_folder
from service.embedded.postgres import Postgres
from service.embedded.program import START_LIMIT_S, StartFailed
from service.embedded.valkey import Valkey

POLL_S = 0.1
LARGEST_LOG = 4 << 20  # bytes; a longer one begins anew with the next keeper
MOST_RESTARTS = 5  # of one server within RESTART_WINDOW_S: beyond that it is broken, not unlucky
RESTART_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """What the keeper is asked to keep; the descriptors are inherited."""

    home: str
    postgres_folder: str
    valkey_server: str
    durable: bool  # False: no fsync, for tests
    ephemeral: bool  # remove the home in the end
    namespaces: bool  # False: as if this kernel refused user namespaces
    keeper_lock: int
    report: int


class Keeper:
    """Both servers of one home, from their start to their end."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._home = Home(Path(order.home))
        self._sockets = socket_folder(self._home.path)
        self._addresses = addresses(self._sockets)
        self._users = locks.open_lock(self._home.users_lock)
        self._sockets_lock: int | None = None
        self._stopping = False
        self._reporting = True
        self._deaths: dict[str, list[float]] = {}
        self._servers: tuple[Postgres | Valkey, ...] = ()

    def run(self) -> None:
        """Keep until nobody is left; in the end nothing runs and no socket remains."""
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the users
        failure = None
        os.ftruncate(self._order.keeper_lock, 0)
        os.pwrite(self._order.keeper_lock, f"{os.getpid()}\n".encode(), 0)  # for people; nothing of ours relies on it
        try:
            self._start()
            while not self._stopping and not self._nobody_left():
                self._revive()
                time.sleep(POLL_S)
        except (StartFailed, PlaceUnusable, locks.LockTimeout, OSError) as error:
            failure = str(error)
        finally:
            self._end()
        if failure is not None:
            self._say("failed", failure)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _nobody_left(self) -> bool:
        """Also when the home was removed under us: then nobody can join any more."""
        return not self._names_home() or locks.try_lock(self._users, exclusive=True)

    def _start(self) -> None:
        began = time.monotonic()
        for log in (self._home.log("postgres"), self._home.log("valkey")):
            if log.exists() and log.stat().st_size > LARGEST_LOG:
                log.unlink()
        self._servers = self._prepare()
        for server in reversed(self._servers):  # Valkey first: it is ready by the time PostgreSQL's files are made
            server.start(self._progress)
        for server in self._servers:
            server.wait_ready(self._progress)
        self._addresses.write(self._home.state)
        self._progress(f"private PostgreSQL and Valkey started in {time.monotonic() - began:.1f} s")
        self._say("ready", asdict(self._addresses))

    def _prepare(self) -> tuple[Postgres | Valkey, ...]:
        installed = Path(self._order.postgres_folder)
        who = identity.choose(installed / "bin" / "postgres", namespaces=self._order.namespaces)
        self._hold_sockets(who)
        if who.kind == "setuid" and not identity.runs(who, installed / "bin" / "postgres"):
            installed = identity.readable_copy(installed, self._copy)
        postgres = Postgres(self._home, self._sockets, installed / "bin", who, durable=self._order.durable)
        return postgres, Valkey(self._home, self._sockets, Path(self._order.valkey_server))

    def _hold_sockets(self, who: identity.Identity) -> None:
        """Make the folder of the sockets ours; a keeper whose home was removed may still be leaving it."""
        owners = (os.geteuid(), who.owner)
        while self._sockets_lock is None:
            make_private(self._sockets, owners=owners)
            with contextlib.suppress(FileNotFoundError):  # it was removed by the one who left: once more
                self._sockets_lock = locks.take_folder(self._sockets, timeout_s=START_LIMIT_S)
        identity.give(self._sockets, who)

    @property
    def _copy(self) -> Path:
        return self._sockets.with_name(self._sockets.name + "-programs")

    def _revive(self) -> None:
        """Start a server again that was killed or crashed; its users reconnect to the same address."""
        for server in self._servers:
            if server.died():
                now = time.monotonic()
                deaths = [then for then in self._deaths.get(server.name, []) if now - then < RESTART_WINDOW_S] + [now]
                self._deaths[server.name] = deaths
                if len(deaths) > MOST_RESTARTS:
                    raise StartFailed(f"{server.name} died {len(deaths)} times within {RESTART_WINDOW_S:.0f} s")
                self._home.state.unlink(missing_ok=True)  # who joins now waits
                server.start(self._progress)
                server.wait_ready(self._progress)
                self._addresses.write(self._home.state)

    def _end(self) -> None:
        """Everything stops before anything is removed, and the home goes last: until then nobody else can begin."""
        if self._names_home():
            self._home.state.unlink(missing_ok=True)
        for server in self._servers:
            server.stop()
        if self._sockets_lock is not None and locks.still_names(self._sockets, self._sockets_lock):
            shutil.rmtree(self._copy, ignore_errors=True)
            shutil.rmtree(self._sockets, ignore_errors=True)
        if self._order.ephemeral and self._names_home():
            leaving = self._home.path.with_name(f"{self._home.path.name}.{os.getpid()}")
            self._home.path.rename(leaving)  # at once, so that who joins now begins anew
            shutil.rmtree(leaving, ignore_errors=True)

    def _names_home(self) -> bool:
        return locks.still_names(self._home.users_lock, self._users)

    def _progress(self, line: str) -> None:
        self._say("progress", line)

    def _say(self, kind: str, value: Any) -> None:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), kind, value, file=sys.stderr, flush=True)  # noqa: T201 (its log)
        if self._reporting:
            try:
                os.write(self._order.report, (json.dumps({"kind": kind, "value": value}) + "\n").encode())
            except BrokenPipeError:  # who started us has gone; another may be waiting for the servers
                self._reporting = False
        if kind != "progress" and self._reporting:
            os.close(self._order.report)
            self._reporting = False


def main() -> None:
    """Leave the starting process behind and keep; argv[1] is the order as JSON."""
    order = Order(**json.loads(sys.argv[1]))
    if os.fork() != 0:  # so that no user has this process as a child to wait for
        os._exit(0)
    os.chdir("/")
    Keeper(order).run()


if __name__ == "__main__":
    main()
