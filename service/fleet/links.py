"""The ways to Redis: one server or a Sentinel group behind one master, or a Cluster. No caller above can tell them apart."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.exceptions import RedisError

from service.errors import BadSetting
from service.fleet.address import Address, parse
from service.fleet.cluster import ClusterLink
from service.fleet.wire import Command, Wire, connection_options, messages
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


class Sentinels(Sentinel):
    """redis-py's, asked by one caller at a time. It moves whoever knew the master to the front of its list over an await: of two
    callers at once, one put a Sentinel twice into the list and another out of it, not to be asked or closed ever again."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)  # type: ignore[no-untyped-call]
        self._asked = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        async with self._asked:
            found: tuple[str, int] = await super().discover_master(service_name)
            return found


def open_link(url: str, timeout_s: float) -> Link:
    """Connects to nothing yet. Raises BadSetting, quoting no secret, for a URL that cannot be used."""
    address = parse(url)
    try:
        if address.kind == "cluster":
            return ClusterLink(address, timeout_s)
        pool = _sentinel_pool(address, timeout_s) if address.kind == "sentinel" else _pool(address, timeout_s)
        link = SingleLink(pool)
        link.connection()  # refuses options that it does not know
    except (TypeError, ValueError, RedisError):  # their texts may quote a value
        raise BadSetting(f"{variable('redis_url')} cannot be used: an option is unknown or wrong") from None
    return link


def _pool(address: Address, timeout_s: float) -> ConnectionPool:
    return ConnectionPool(**connection_options(address.options, timeout_s))


def _sentinel_pool(address: Address, timeout_s: float) -> ConnectionPool:
    """A pool whose connections ask the Sentinels for the master each time they connect.

    Each Sentinel gets its share of the time: one that swallows everything must not keep us from asking the next.
    """
    share_s = timeout_s / len(address.hosts)
    for_sentinels = {name: value for name, value in address.options.items() if name.startswith("ssl_")} | address.sentinel_options
    watchers = Sentinels(
        address.hosts,
        sentinel_kwargs=connection_options(for_sentinels, share_s) | {"socket_timeout": share_s, "ssl": address.tls},
    )
    return SentinelConnectionPool(address.master, watchers, ssl=address.tls, **connection_options(address.options, timeout_s))


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
        if isinstance(self._pool, SentinelConnectionPool):
            await self._pool.sentinel_manager.aclose()

    def connection(self) -> AbstractConnection:
        """A new one, not connected yet."""
        connection: AbstractConnection = self._pool.make_connection()
        return connection
