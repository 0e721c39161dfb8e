"""A TCP proxy in front of a unix socket that can delay, freeze, cut and refuse: the network's faults, in one process."""

import asyncio
import contextlib
from pathlib import Path
from typing import Self

CHUNK = 65_536


class Proxy:
    """Listens on 127.0.0.1 and forwards to the socket.

    `async with Proxy(valkey.socket) as proxy:` then `redis://127.0.0.1:{proxy.port}/0`, or
    `postgresql://amity@127.0.0.1:{proxy.port}/amity`.
    """

    def __init__(self, upstream: Path) -> None:
        self.delay_s = 0.0
        """Added to each piece that is forwarded, in both directions."""
        self.port = 0
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    def freeze(self) -> None:
        """A black hole: connections open and stay open, nothing passes."""
        self._flows.clear()

    def thaw(self) -> None:
        """Undo `freeze`; what was sent meanwhile arrives."""
        self._flows.set()

    async def cut(self) -> None:
        """Close every connection; new ones are welcome."""
        broken = list(self._connections)
        for connection in broken:
            connection.cancel()
        await asyncio.gather(*broken, return_exceptions=True)

    async def refuse(self) -> None:
        """Close every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def restore(self) -> None:
        """Undo `refuse`, on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also of one that was cut before its first turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):  # a broken end breaks the other: that is the answer
            try:
                await self._flows.wait()
                upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._upstream)
            except BaseException:
                writer.transport.abort()
                raise
            try:
                await self._forward_both(reader, writer, upstream_reader, upstream_writer)
            finally:
                writer.transport.abort()
                upstream_writer.transport.abort()

    async def _forward_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream_writer: asyncio.StreamWriter,
    ) -> None:
        ways = (
            asyncio.ensure_future(self._forward(reader, upstream_writer)),
            asyncio.ensure_future(self._forward(upstream_reader, writer)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._flows.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(chunk)
            await writer.drain()
