"""What a Cluster of which some nodes are away leaves behind."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as Refused

from service.fleet.address import parse
from service.fleet.cluster import ClusterLink
from service.fleet.wire import Command, Wire


class Hanging:
    """A node that swallows everything."""

    n_waiting = 0

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        self.n_waiting += 1
        try:
            await asyncio.Event().wait()
            return []
        finally:
            self.n_waiting -= 1


class Dead:
    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        raise Refused


class TwoNodes(ClusterLink):
    """Each key is on the node of its own name."""

    def __init__(self, **nodes: Any) -> None:
        super().__init__(parse("redis+cluster://127.0.0.1:1"), 1.0)
        self._wires = cast(dict[str, Wire], nodes)

    async def _know_nodes(self) -> None: ...

    def _node_of(self, command: Command) -> str:
        return str(command[1])


async def test_a_node_that_hangs_beside_a_dead_one_is_waited_for_by_nobody_in_the_end() -> None:
    hanging = Hanging()
    link = TwoNodes(hanging=hanging, dead=Dead())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await link.exchange([("GET", "hanging"), ("GET", "dead")])
    await asyncio.sleep(0)
    assert hanging.n_waiting == 0


async def test_a_dead_node_fails_the_batch() -> None:
    with pytest.raises(Refused):
        await TwoNodes(dead=Dead()).exchange([("GET", "dead")])
