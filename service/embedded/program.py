"""One server program: start it, wait until it answers, notice that it died, stop it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from service.embedded import locks
from service.embedded.identity import Identity
from service.embedded.places import Home

START_LIMIT_S = 300.0  # replaying 2 GB of write-ahead log after a kill takes a minute on a slow disk
PREDECESSOR_LIMIT_S = 2.0  # an orderly end after a lost keeper takes 0.1 s; a query may hold up a killed server's child
POLL_S = 0.005
Report = Callable[[str], None]


class StartFailed(Exception):
    """A server did not start: one line, and the end of its log."""

    def __init__(self, line: str, log: Path | None = None) -> None:
        super().__init__(line if log is None else with_tail(line, log))


def with_tail(line: str, log: Path) -> str:
    """The line, and the end of the log below it."""
    tail = log.read_text(errors="replace")[-2000:].strip() if log.exists() else ""
    return f"{line}\n{tail}" if tail else line


class Program:
    """A running child and the lock that it and its own children hold."""

    def __init__(self, name: str, home: Home, identity: Identity, *, pid_file: Path, leftovers: tuple[Path, ...]) -> None:
        """`leftovers` are what a killed predecessor may have left, besides its pid file: removed before each start."""
        self.name = name
        self.home = home
        self.identity = identity
        self.pid_file = pid_file
        self.leftovers = leftovers
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(
        self, command: list[str], folder: Path, when_orphaned: signal.Signals, *, stdin: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[bytes]":
        """Start the program once nothing of an earlier one lives, its output appended to its log."""
        hold = self._alone()
        for stale in (self.pid_file, *self.leftovers):
            stale.unlink(missing_ok=True)  # its pid may be somebody else's by now; the lock says that it is gone
        log = os.open(self.home.log(self.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.process = self.identity.spawn(command, folder, stdin=stdin, log=log, hold=hold, when_orphaned=when_orphaned)
        except (OSError, subprocess.SubprocessError) as error:
            raise StartFailed(f"{command[0]} cannot be run: {error}") from error
        finally:
            os.close(log)
            os.close(hold)
        return self.process

    def wait_for_predecessor(self) -> None:
        """Return when nothing of an earlier server of this home lives."""
        os.close(self._alone())

    def _alone(self) -> int:
        """The server's lock, free at once unless a predecessor is still dying, hangs, or was orphaned on macOS."""
        lock = self.home.server_lock(self.name)
        for harder in (signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(locks.LockTimeout):  # then harder
                return locks.take(lock, exclusive=True, timeout_s=PREDECESSOR_LIMIT_S)
            for pid in self._holders():
                with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                    os.kill(pid, harder)
        try:
            return locks.take(lock, exclusive=True, timeout_s=PREDECESSOR_LIMIT_S)
        except locks.LockTimeout as error:
            raise StartFailed(f"an earlier {self.name} of {self.home.path} does not stop") from error

    def _holders(self) -> list[int]:
        """The processes that keep the lock: by their open files or, where there is no /proc, by the pid file.

        A pid file alone may name a stranger after a restart of the machine; a held lock says that it does not.
        """
        lock = self.home.server_lock(self.name).stat()
        found = set()
        for opened in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):  # not ours to look at, or closed meanwhile
                if os.path.samestat(opened.stat(), lock):
                    found.add(int(opened.parts[2]))
        if not found:
            with contextlib.suppress(OSError, ValueError, IndexError):  # not written yet
                found.add(int(self.pid_file.read_text().splitlines()[0]))
        return sorted(found - {os.getpid()})

    @property
    def pid(self) -> int:
        """Of the running server; raises StartFailed when it is not."""
        if self.process is None:
            raise StartFailed(f"the private {self.name} is not running")
        return self.process.pid

    def died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def finish(self, steps: tuple[tuple[signal.Signals, float], ...]) -> None:
        """Signal the program and wait, harder from step to step."""
        if self.process is None:
            return
        for number, patience_s in steps:
            if self.process.poll() is None:
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):  # the next step is harder
                    self.process.wait(patience_s)
        self.process = None

    def wait_until(self, ready: Callable[[], bool], report: Report) -> None:
        """Poll until the server answers; raises StartFailed when it ends or takes longer than START_LIMIT_S."""
        began = told = time.monotonic()
        while not ready():
            now = time.monotonic()
            if self.died() or now - began > START_LIMIT_S:
                what = "ended while starting" if self.died() else f"did not start within {START_LIMIT_S:.0f} s"
                raise StartFailed(f"the private {self.name} of {self.home.path} {what}", self.home.log(self.name))
            if now - told > 2.0:
                report(f"waiting for {self.name} ({now - began:.0f} s)")
                told = now
            time.sleep(POLL_S)
