"""A Cluster: redis-py learns which node has which slot; commands go straight to the nodes, one write for each.

redis-py's own pipeline takes 26 µs of CPU for each of 32 viewers' looks where this takes 10, sleeps before it tries again, and
(8.1.0) fails with an AttributeError of its own where a slot is about to move.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, ClusterError, MovedError, RedisClusterException, RedisError, ResponseError, TryAgainError

from service.fleet.address import Address
from service.fleet.wire import Command, Wire, connection_options, messages

TOPOLOGY_S = 1.0
"""Time for one question about the topology. Learning it may take longer than a request waits, and then goes on without it."""

_KEY_AT = {"EVAL": 3}
_KEYLESS = ("PUBLISH", "PING", "INFO")


class ClusterLink:
    """See Link. One node that is away fails each batch that touches its keys, until another has taken its place."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        options = connection_options(address.options, timeout_s) | {"socket_timeout": TOPOLOGY_S}
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        self._client = RedisCluster(startup_nodes=nodes, ssl=address.tls, **options)
        self._hosts = list(address.hosts)
        self._timeout_s = timeout_s
        self._wires: dict[str, Wire] = {}
        self._learning: asyncio.Task[None] | None = None
        self._is_known = False

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """MGET refuses keys of several slots: one for each hash tag, that is for each viewer, and one write for each node."""
        by_tag: dict[str, list[int]] = {}
        for at, key in enumerate(keys):
            by_tag.setdefault(_hash_tag(key), []).append(at)
        replies = await self.exchange([("MGET", *(keys[at] for at in places)) for places in by_tag.values()])
        values: list[bytes | None] = [None] * len(keys)
        for places, reply in zip(by_tag.values(), replies, strict=True):
            if isinstance(reply, RedisError):
                raise reply
            for at, value in zip(places, reply, strict=True):
                values[at] = value
        return values

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        await self._know_nodes()
        places: dict[str, list[int]] = {}
        for at, command in enumerate(commands):
            places.setdefault(self._node_of(command), []).append(at)
        # What one node raises is raised when the others have answered too, so that none is waited for behind the caller's back.
        answered = await asyncio.gather(
            *(self._wires[name].exchange([commands[at] for at in here]) for name, here in places.items()), return_exceptions=True
        )
        replies: list[Any] = [None] * len(commands)
        for here, some in zip(places.values(), answered, strict=True):
            if isinstance(some, BaseException):
                raise some
            for at, reply in zip(here, some, strict=True):
                moved = isinstance(reply, AskError | TryAgainError)  # a MovedError is an AskError
                replies[at] = await self._follow(commands[at], reply) if moved else reply
        return replies

    async def messages(self, channels: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """From any node, for all tell each other what is published; from another one after each failure."""
        await self._know_nodes()
        connection = self._connection(random.choice(self._client.get_nodes()))
        async with aclosing(messages(connection, channels)) as payloads:
            async for payload in payloads:
                yield payload

    async def forget(self) -> None:
        self._is_known = False
        for wire in self._wires.values():
            await wire.forget()

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait({self._learning})
        await self.forget()
        await self._client.aclose()
        for nodes in ("nodes_cache", "startup_nodes"):  # the client closes these only if it was asked something itself
            await self._client.nodes_manager.aclose(nodes)

    async def _know_nodes(self) -> None:
        """Learn the topology once for all who wait. The learning goes on when who waits gives up, or it might never end."""
        if self._is_known:
            return
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn(), name="amity-cluster-topology")
            self._learning.add_done_callback(_seen)
        await asyncio.shield(self._learning)

    async def _learn(self) -> None:
        with _redis_errors():
            # The hosts of the URL too: those learnt last may all have gone, as when a Cluster of pods has been rolled.
            await self._client.nodes_manager.initialize(additional_startup_nodes_info=self._hosts)
        nodes = {node.name: node for node in self._client.get_nodes()}
        for name in self._wires.keys() - nodes.keys():
            await self._wires.pop(name).forget()
        for name, node in nodes.items():
            self._wires.setdefault(name, Wire(partial(self._connection, node)))
        self._is_known = True

    def _connection(self, node: ClusterNode) -> AbstractConnection:
        """A new one, not connected yet, like those of the client but for the time limit, which is the asker's business."""
        return node.connection_class(**connection_options(node.connection_kwargs, self._timeout_s))

    def _node_of(self, command: Command) -> str:
        if command[0] in _KEYLESS:
            return str(random.choice(self._client.get_primaries()).name)
        with _redis_errors():
            node = self._client.get_node_from_key(str(command[_KEY_AT.get(str(command[0]), 1)]))
        if node is None:
            raise ClusterError("a slot has no node")
        return str(node.name)

    async def _follow(self, command: Command, where: ResponseError) -> Any:
        """The reply from where the key has moved, or is about to."""
        if isinstance(where, MovedError):
            self._is_known = False
            reply = (await self._wire_to(where).exchange([command]))[0]
        elif command[0] == "MGET":  # some keys are here, some there, and neither node answers for all
            reply = await self.exchange([("GET", key) for key in command[1:]])
        elif isinstance(where, AskError):
            reply = (await self._wire_to(where).exchange([("ASKING",), command]))[1]
        else:
            raise where
        if isinstance(reply, AskError | TryAgainError):
            raise reply
        return reply

    def _wire_to(self, where: AskError) -> Wire:
        """To a node that another one named; it may have joined since the topology was learnt."""
        if not where.host:
            raise ClusterError("a node does not know the address of another")
        options: dict[str, Any] = self._client.get_connection_kwargs()
        node = ClusterNode(where.host, where.port, **options)
        return self._wires.setdefault(str(node.name), Wire(partial(self._connection, node)))


def _hash_tag(key: str) -> str:
    """What decides the key's slot."""
    return key.partition("{")[2].partition("}")[0] or key


@contextmanager
def _redis_errors() -> Iterator[None]:
    """redis-py's errors of topology derive from Exception, all its others from RedisError."""
    try:
        yield
    except RedisClusterException as exc:
        raise ClusterError(str(exc)) from exc


def _seen(learning: asyncio.Task[None]) -> None:
    if not learning.cancelled():
        learning.exception()  # those who waited have it; marked as seen when all had given up
