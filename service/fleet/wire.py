"""Commands to one server over kept connections.

redis-py's clients spend 35-100 µs on a command before it leaves: packing in Python, two locks, metrics, a task for the time
limit. Its connections, which know TLS, passwords and Sentinel, are used here without that: packed by hiredis, written once and
read in order, a look for 33 keys costs 22 µs instead of 100.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, MasterDownError, ReadOnlyError, RedisError, ResponseError

Command = tuple[str | bytes | int | float, ...]


def connection_options(given: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """The URL's options, and ours, which win. redis-py 8.1 by itself waits 5 s and tries 10 times."""
    return {
        **given,
        "client_name": "amity",
        "decode_responses": False,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": timeout_s,
        # Whoever asks bounds the time: a limit of redis-py's own costs a task for each command.
        "socket_timeout": None,
    }


class Wire:
    """Bounds no time: whoever calls it does. A connection whose exchange failed or was cancelled is closed, never used again."""

    def __init__(self, connect: Callable[[], AbstractConnection]) -> None:
        self._connect = connect
        self._idle: list[AbstractConnection] = []

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """One reply for each command; a ResponseError in the place of one that was refused. Raises RedisError or OSError.

        A kept connection may have been closed by the server since its last use; then all is sent once more on a new one.
        Whoever sends what may not be done twice has to give it a token of its own.
        """
        packed = b"".join(map(_packed, commands))
        if self._idle:
            kept = self._idle.pop()
            try:
                return await self._talk(kept, packed, len(commands))
            except (RedisError, OSError):
                await self.forget()  # those kept with it are as old
        return await self._talk(self._connect(), packed, len(commands))

    async def _talk(self, connection: AbstractConnection, packed: bytes, n_replies: int) -> list[Any]:
        async with _closed_on_failure(connection):
            if not connection.is_connected:
                await connection.connect()
            await connection.send_packed_command(packed, check_health=False)
            replies = [await _reply(connection) for _ in range(n_replies)]
        self._idle.append(connection)
        return replies

    async def forget(self) -> None:
        """Close the connections that nobody uses just now."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)


async def messages(connection: AbstractConnection, channels: Sequence[str]) -> AsyncGenerator[bytes, None]:
    """What is published on the channels, for as long as the connection lasts; closes it. Raises RedisError or OSError."""
    async with _closed_on_failure(connection):
        await connection.connect()
        await connection.send_packed_command(_packed(("SUBSCRIBE", *channels)), check_health=False)
        while True:
            push = await connection.read_response(disable_decoding=True, timeout=inf)
            if push[0] == b"message":
                yield push[2]


@asynccontextmanager
async def _closed_on_failure(connection: AbstractConnection) -> AsyncIterator[None]:
    try:
        yield
    except RuntimeError as exc:  # what uvloop raises for a transport that was reset, where asyncio lets the next read fail
        await connection.disconnect(nowait=True)
        raise ConnectionResetError from exc
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except (ReadOnlyError, MasterDownError, ClusterDownError):  # not this command: the server is not, or no more, what we seek
        raise
    except ResponseError as exc:
        return exc


def _packed(command: Command) -> bytes:
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub knows tuples of one element only
