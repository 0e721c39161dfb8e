"""The private Valkey, which speaks the protocol of Redis."""

import signal
import socket
from pathlib import Path

from service.embedded.identity import direct
from service.embedded.places import Home
from service.embedded.program import Program, Report


class Valkey:
    """Valkey 9 without persistence: what it holds is rebuilt from the database."""

    name = "valkey"

    def __init__(self, home: Home, sockets: Path, program: Path) -> None:
        self._home = home
        self._path = program
        self._address = sockets / "valkey.sock"
        self._program = Program(self.name, home, direct(), pid_file=home.run / "valkey.pid", leftovers=(self._address,))

    def start(self, report: Report) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self._address),
            "unixsocketperm": "700",
            "pidfile": str(self._program.pid_file),
            "dir": str(self._home.run),
            "save": "",
            "appendonly": "no",
            "databases": "64",
            "maxmemory": "256mb",
            "maxmemory-policy": "allkeys-lru",
        }
        command = [str(self._path)]
        for name, value in options.items():
            command += [f"--{name}", value]
        self._program.spawn(command, self._home.run, signal.SIGKILL)

    def wait_ready(self, report: Report) -> None:
        self._program.wait_until(self._ready, report)

    def _ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self._address))
                client.sendall(b"PING\r\n")
                return client.recv(5) == b"+PONG"
            except OSError:  # not listening yet
                return False

    def died(self) -> bool:
        return self._program.died()

    @property
    def pid(self) -> int:
        """Of the running server; raises StartFailed when it is not."""
        return self._program.pid

    def stop(self) -> None:
        self._program.finish(((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)))
        self._address.unlink(missing_ok=True)
