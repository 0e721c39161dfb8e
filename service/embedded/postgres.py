"""The private PostgreSQL."""

import contextlib
import shutil
import signal
import subprocess
from pathlib import Path

from service.embedded.identity import Identity, give
from service.embedded.places import DATABASE, POSTGRES_PORT, ROLE, Home
from service.embedded.program import Program, Report, StartFailed


class Postgres:
    """PostgreSQL 18 with one database, on a unix socket that only its owner can reach."""

    name = "postgres"

    def __init__(self, home: Home, sockets: Path, programs: Path, identity: Identity, *, durable: bool) -> None:
        self._home = home
        self._sockets = sockets
        self._programs = programs
        self._identity = identity
        self._durable = durable
        socket = sockets / f".s.PGSQL.{POSTGRES_PORT}"
        leftovers = (socket, socket.with_name(socket.name + ".lock"))
        self._program = Program(self.name, home, identity, pid_file=home.data / "postmaster.pid", leftovers=leftovers)

    def start(self, report: Report) -> None:
        self._program.wait_for_predecessor()
        if not (self._home.data / "PG_VERSION").exists():
            report(f"creating a PostgreSQL database in {self._home.data}")
            self._create()
        give(self._home.data, self._identity)
        command = [str(self._programs / "postgres"), "-D", self._identity.data_argument(self._home.data)]
        for name, value in self._settings().items():
            command += ["-c", f"{name}={value}"]
        self._program.spawn(command, self._home.data, signal.SIGQUIT)

    def _create(self) -> None:
        """initdb beside the final place, with the database made, and renamed when whole: half a cluster is never seen."""
        fresh = self._home.data.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        give(fresh, self._identity)
        data = ["-D", self._identity.data_argument(fresh)]
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        sync = [] if self._durable else ["--no-sync"]
        initdb = [str(self._programs / "initdb"), *data, "-U", ROLE, "-A", "trust", *locale, *sync, "--no-instructions"]
        self._run(initdb, fresh, b"")
        single = [str(self._programs / "postgres"), "--single", *data, *([] if self._durable else ["-F"]), "postgres"]
        self._run(single, fresh, f"CREATE DATABASE {DATABASE}\n".encode())
        fresh.rename(self._home.data)

    def _run(self, command: list[str], folder: Path, text: bytes) -> None:
        process = self._program.spawn(command, folder, signal.SIGKILL, stdin=subprocess.PIPE)
        process.communicate(text)
        if process.returncode != 0:
            name = Path(command[0]).name
            raise StartFailed(f"{name} failed with exit code {process.returncode}", self._home.log(self.name))

    def _settings(self) -> dict[str, str]:
        """For two cores shared with the service: small, quiet, and with room in the log for bulk loads."""
        folder = str(self._sockets).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "port": str(POSTGRES_PORT),
            "unix_socket_directories": f'"{folder}"',
            "unix_socket_permissions": "0700",
            "cluster_name": "amity",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "maintenance_work_mem": "128MB",
            "random_page_cost": "1.1",
            "jit": "off",
            "max_parallel_workers_per_gather": "0",
            # In files of the data folder, so that a kill leaves nothing in /dev/shm; without parallel queries little is shared.
            "dynamic_shared_memory_type": "mmap",
            "wal_level": "minimal",  # no replica follows it, and COPY into a new table need not be logged
            "max_wal_senders": "0",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            "log_checkpoints": "off",
        }
        if not self._durable:
            # synchronous_commit stays on: without fsync it costs one write(), and a killed server loses no commit.
            off = ("fsync", "full_page_writes", "autovacuum")
            settings |= dict.fromkeys(off, "off")
            settings["max_wal_size"] = "256MB"
        return settings

    def wait_ready(self, report: Report) -> None:
        self._program.wait_until(self._ready, report)

    def _ready(self) -> bool:
        """The postmaster writes its state to the last line of its pid file, which we removed before it started."""
        with contextlib.suppress(FileNotFoundError):  # not so far yet
            return self._program.pid_file.read_text().rstrip().endswith("\nready")
        return False

    def died(self) -> bool:
        return self._program.died()

    @property
    def pid(self) -> int:
        """Of the running server; raises StartFailed when it is not."""
        return self._program.pid

    def stop(self) -> None:
        """Fast shutdown, which leaves nothing to recover; immediate where there is nothing to keep."""
        gently = ((signal.SIGINT, 60.0),) if self._durable and self._home.data.exists() else ()
        self._program.finish((*gently, (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)))
