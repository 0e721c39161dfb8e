"""Connections to Redis that break while nobody uses them."""

import asyncio
import socket
import struct
from contextlib import suppress

import uvloop

from service.fleet.client import Fleet
from service.resilience import Breaker, Deadline

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: whoever closes resets the connection."""


class Server:
    """Says OK to everything, and has one value. Its connections can be reset, as a firewall or a dying host does it."""

    def __init__(self) -> None:
        self._open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        with suppress(OSError):  # reset
            while heard := await reader.read(65_536):
                writer.write(b"*1\r\n$1\r\nv\r\n" if b"MGET" in heard else b"+OK\r\n" * heard.count(b"*"))

    async def reset(self) -> None:
        for writer in self._open:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        self._open.clear()
        await asyncio.sleep(0.05)  # until that has arrived


def test_connections_that_were_reset_cost_nobody_an_answer_on_the_event_loop_that_serves() -> None:
    async def story() -> list[object]:
        server = Server()
        answers: list[object] = []
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            fleet = Fleet.open(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}", 5.0, Breaker("redis"))
            for _ in range(2):
                answers += [await fleet.run("test", [("SET", "k", "v")], Deadline(5)), await fleet.get(["k"], Deadline(5))]
                await server.reset()
            await fleet.close()
        return answers

    assert uvloop.run(story()) == [[b"OK"], [b"v"]] * 2
