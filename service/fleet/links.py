"""The ways to Redis: one server or a Sentinel group behind one master, or a Cluster. No caller above can tell them apart."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.errors import BadSetting
from service.fleet.address import Address, parse
from service.fleet.wire import Command, Wire, messages
from service.settings import variable


class Link(Protocol):
    """Bounds no time. Raises RedisError or OSError while Redis is away."""

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]: ...

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """One reply for each command; a ResponseError in the place of one that was refused."""
        ...

    def messages(self, channels: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """What is published, over a connection of its own."""
        ...

    async def forget(self) -> None:
        """After a failure: begin with new connections, wherever Redis is by now."""
        ...

    async def close(self) -> None: ...


def open_link(url: str, timeout_s: float) -> Link:
    """Connects to nothing yet. Raises BadSetting, quoting no secret, for a URL that cannot be used."""
    address = parse(url)
    options = {
        **address.options,
        "client_name": "amity",
        "decode_responses": False,
        "protocol": 2,
        # redis-py 8.1 by itself waits 5 s and tries 10 times.
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": timeout_s,
        # Whoever asks bounds the time: a limit of redis-py's own costs a task for each command.
        "socket_timeout": None,
    }
    try:
        return _link(address, options, timeout_s)
    except (TypeError, ValueError, RedisError):  # an option that redis-py does not know; its text may quote a value
        raise BadSetting(f"{variable('redis_url')} cannot be used: an option is unknown or wrong") from None


def _link(address: Address, options: dict[str, Any], timeout_s: float) -> Link:
    pool = ConnectionPool(**options)
    link = SingleLink(pool)
    link.connection()  # refuses options that it does not know
    return link


class SingleLink:
    """One server, or whichever is a Sentinel group's master: `pool` knows how to connect, and is used for nothing else."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._wire = Wire(self.connection)

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        (values,) = await self._wire.exchange([("MGET", *keys)])
        if isinstance(values, RedisError):
            raise values
        return list(values)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        return await self._wire.exchange(commands)

    def messages(self, channels: Sequence[str]) -> AsyncGenerator[bytes, None]:
        return messages(self.connection(), channels)

    async def forget(self) -> None:
        await self._wire.forget()

    async def close(self) -> None:
        await self._wire.forget()

    def connection(self) -> AbstractConnection:
        """A new one, not connected yet."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection
