"""Valkeys in company: a Cluster, a Sentinel group, and one behind TLS. Each node can be killed, frozen and started again."""

import asyncio
import contextlib
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import redis

from service.embedded import binaries
from service.embedded.identity import direct
from service.embedded.places import Home
from service.embedded.program import Program, Report
from tests.programs import program
from tests.proxy import Proxy
from tests.servers import PrivateServer, fresh_name, run_home

NODE_TIMEOUT_MS = 600
"""Long enough for a machine that is busy, short enough that a failover takes two seconds."""


def free_ports(n: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(n)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def wait_until(met: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Poll; raises AssertionError when it takes too long."""
    ends_s = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < ends_s, "the servers did not get there"
        time.sleep(0.02)


class _Server:
    """A valkey-server that listens on a TCP port; what PrivateServer starts and stops."""

    def __init__(self, home: Home, port: int, arguments: list[str]) -> None:
        self._program = Program("valkey", home, direct(), pid_file=home.run / "valkey.pid", leftovers=())
        self._home = home
        self._port = port
        self._arguments = arguments

    def start(self, report: Report) -> None:
        self._program.spawn([str(binaries.valkey_server()), *self._arguments], self._home.run, signal.SIGKILL)

    def wait_ready(self, report: Report) -> None:
        self._program.wait_until(self._ready, report)

    def _ready(self) -> bool:
        with contextlib.suppress(redis.ConnectionError), redis.Redis(port=self._port) as client:
            return bool(client.ping())
        return False

    def died(self) -> bool:
        return self._program.died()

    @property
    def pid(self) -> int:
        return self._program.pid

    def stop(self) -> None:
        self._program.finish(((signal.SIGKILL, 5.0),))


class ValkeyNode(PrivateServer):
    """One of several on 127.0.0.1; `options` as in valkey.conf, `sentinel` its lines when it is a Sentinel."""

    def __init__(self, port: int, options: dict[str, Any] | None = None, sentinel: str | None = None) -> None:
        home = Home(run_home() / fresh_name("node"))
        home.run.mkdir(parents=True)
        given = {"port": port, "bind": "127.0.0.1", "dir": home.run, "save": "", "repl-diskless-sync-delay": 0, **(options or {})}
        arguments = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        if sentinel is not None:
            (home.run / "sentinel.conf").write_text(sentinel)
            arguments = [str(home.run / "sentinel.conf"), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
        super().__init__(_Server(home, port, arguments), home.path)
        self.port = port

    def ask(self, *command: str | int) -> Any:
        """The reply to one command."""
        with redis.Redis(port=self.port, decode_responses=True) as client:
            return client.execute_command(*command)


class ValkeyCluster:
    """Three masters, each with a third of the slots, and as many replicas as asked for behind each. Takes 1-3 s to form."""

    def __init__(self, replicas: int = 0) -> None:
        ports = free_ports(2 * 3 * (1 + replicas))
        options = {"cluster-enabled": "yes", "cluster-node-timeout": NODE_TIMEOUT_MS, "cluster-replica-validity-factor": 0}
        self.nodes = [
            ValkeyNode(port, options | {"cluster-port": bus}) for port, bus in zip(ports[::2], ports[1::2], strict=True)
        ]
        self._buses = ports[1::2]
        self._running = contextlib.ExitStack()
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"redis+cluster://{hosts}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as running:
            for node in self.nodes:
                running.enter_context(node)
            self._form()
            self._running = running.pop_all()
        return self

    def _form(self) -> None:
        masters, replicas = self.nodes[:3], self.nodes[3:]
        for number, master in enumerate(masters):
            master.ask("CLUSTER", "ADDSLOTSRANGE", number * 5461, 16383 if number == 2 else number * 5461 + 5460)
        for node, bus in zip(self.nodes, self._buses, strict=True):
            for other in self.nodes[: self.nodes.index(node)]:  # gossip would bring them together too, in seconds
                other.ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        wait_until(lambda: all(self._is_formed(node) for node in self.nodes))
        for number, replica in enumerate(replicas):
            replica.ask("CLUSTER", "REPLICATE", masters[number % 3].ask("CLUSTER", "MYID"))
        wait_until(lambda: all(replica.ask("INFO", "replication")["master_link_status"] == "up" for replica in replicas))

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _is_formed(self, node: ValkeyNode) -> bool:
        info = node.ask("CLUSTER", "INFO")
        return "cluster_state:ok" in info and f"cluster_known_nodes:{len(self.nodes)}\r" in info

    def owner(self, key: str) -> ValkeyNode:
        """The master that has the key."""
        slot = self.nodes[0].ask("CLUSTER", "KEYSLOT", key)
        for node in self.nodes[:3]:
            low = self.nodes.index(node) * 5461
            if low <= slot <= (16383 if low == 2 * 5461 else low + 5460):
                return node
        raise AssertionError(f"nobody has slot {slot}")


class SentinelGroup:
    """A master, a replica, and three Sentinels that agree by two."""

    name = "people"

    def __init__(self) -> None:
        master, replica, *watching = free_ports(5)
        self.master = ValkeyNode(master)
        self.replica = ValkeyNode(replica, {"replicaof": f"127.0.0.1 {master}"})
        lines = (
            f"sentinel monitor {self.name} 127.0.0.1 {master} 2",
            f"sentinel down-after-milliseconds {self.name} {NODE_TIMEOUT_MS}",
            f"sentinel failover-timeout {self.name} 2000",
        )
        self.sentinels = [ValkeyNode(port, sentinel="\n".join(lines) + "\n") for port in watching]
        self._running = contextlib.ExitStack()
        hosts = ",".join(f"127.0.0.1:{port}" for port in watching)
        self.url = f"redis+sentinel://{hosts}/{self.name}"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as running:
            for node in (self.master, self.replica, *self.sentinels):
                running.enter_context(node)
            wait_until(lambda: self.replica.ask("INFO", "replication")["master_link_status"] == "up")
            wait_until(lambda: all(self._sees_all(sentinel) for sentinel in self.sentinels))
            self._running = running.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _sees_all(self, sentinel: ValkeyNode) -> bool:
        state = sentinel.ask("SENTINEL", "MASTER", self.name)
        return (state["num-slaves"], state["num-other-sentinels"]) == ("1", "2")


class TlsProxy(Proxy):
    """TLS in front of a socket, for the wheel's Valkey is built without it. Wants a certificate of the same authority."""

    def __init__(self, upstream: Path, certificates: "Certificates") -> None:
        super().__init__(upstream)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.authority))
        self._context.load_cert_chain(certificates.certificate, certificates.key)
        self._context.verify_mode = ssl.CERT_REQUIRED

    async def restore(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]


class Certificates:
    """An authority, and a certificate of it for 127.0.0.1, made in a folder by the `openssl` program."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.certificate, self.key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
        authority_key = folder / "ca.key"
        self._make("-subj", "/CN=amity tests", "-keyout", authority_key, "-out", self.authority)
        whose = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
        self._make(*whose, "-CA", self.authority, "-CAkey", authority_key, "-keyout", self.key, "-out", self.certificate)

    def _make(self, *arguments: str | Path) -> None:
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        openssl = program("openssl", brought_by="Debian's package openssl")
        subprocess.run([openssl, *new, *arguments], check=True, capture_output=True)
