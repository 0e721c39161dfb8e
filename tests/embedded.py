"""Users of the private servers in processes of their own, which a test can kill, and what is left after them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from service.embedded import locks
from service.embedded.places import Home, socket_folder

ROOT = Path(__file__).resolve().parents[1]
JOIN_AND_WAIT = """
import sys
from pathlib import Path
from service.embedded.lease import EmbeddedServers, Options
with EmbeddedServers(Path(sys.argv[1]), Options(namespaces=sys.argv[2] == "True"), lambda line: None) as servers:
    print(servers.database_url, servers.redis_url, flush=True)
    sys.stdin.read()
"""


class User:
    """A process that joins the servers of the home and stays until it is told to leave, or killed."""

    def __init__(self, home: Path, *, prefix: Sequence[str] = (), python: str = sys.executable, namespaces: bool = True):
        command = [*prefix, python, "-c", JOIN_AND_WAIT, str(home), str(namespaces)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def urls(self) -> list[str]:
        """Wait until it has joined; the database's URL and Redis's."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line.split()

    def leave(self) -> None:
        """Let it release its lease and end in order."""
        _, errors = self.process.communicate("", timeout=60)
        assert self.process.returncode == 0, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def keeper_pid(home: Path) -> int:
    return int(Home(home).keeper_lock.read_text())


def postgres_pid(home: Path) -> int:
    return int((Home(home).data / "postmaster.pid").read_text().splitlines()[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_keeper(home: Path) -> int:
    """Kill it and wait for its end, or for its successor: who joins in between is told of servers about to die."""
    pid = keeper_pid(home)
    kill(pid)
    assert eventually(lambda: locks.is_free(Home(home).keeper_lock) or keeper_pid(home) != pid)
    return pid


def everything_stopped(home: Path) -> bool:
    """Whether neither a keeper nor a process of either server of this home is left."""
    place = Home(home)
    held = (place.keeper_lock, place.server_lock("postgres"), place.server_lock("valkey"))
    return all(locks.is_free(lock) for lock in held)


def no_socket_left(home: Path) -> bool:
    return not socket_folder(home).exists()


def eventually(condition: Callable[[], bool], within_s: float = 15.0) -> bool:
    """Whether the condition comes true; the limit is generous because the machine is shared."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
