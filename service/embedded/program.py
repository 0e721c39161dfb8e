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
POLL_S = 0.005
Report = Callable[[str], None]


class StartFailed(Exception):
    """A server did not start: one line, and the end of its log."""

    def __init__(self, line: str, log: Path | None = None) -> None:
        tail = "" if log is None or not log.exists() else log.read_text(errors="replace")[-2000:].strip()
        super().__init__(f"{line}\n{tail}" if tail else line)


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

    def _alone(self) -> int:
        """The server's lock, which is free at once unless a predecessor is still dying (or, on macOS, was orphaned)."""
        for grace_s, harder in ((5.0, signal.SIGQUIT), (5.0, signal.SIGKILL), (5.0, None)):
            with contextlib.suppress(locks.LockTimeout):  # then harder, and the last time we give up
                return locks.take(self.home.server_lock(self.name), exclusive=True, timeout_s=grace_s)
            if harder is not None:
                self._signal_predecessor(harder)
        raise StartFailed(f"an earlier {self.name} of {self.home.path} still runs and does not stop")

    def _signal_predecessor(self, number: signal.Signals) -> None:
        # Its lock is held, so that something of it lives; its pid is not taken from a machine that has been rebooted.
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended meanwhile, or had not written its pid
            os.kill(int(self.pid_file.read_text().splitlines()[0]), number)

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
