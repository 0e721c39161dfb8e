"""Who computes what, so that the fleet computes it once: a lease in Redis with an owner and an end."""

from collections.abc import Sequence

from service.fleet.client import Fleet
from service.fleet.wire import Command
from service.resilience import Deadline

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
"""Sent whole each time, 97 bytes: a server that restarted or failed over has forgotten scripts that are named by their hash."""


class Leases:
    """A lease ends by itself, so that a dead owner holds up nobody for longer than its life."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def take(self, key: str, owner: str, life_ms: int) -> bool | None:
        """Whether `owner`, a token of this one attempt, has it now; None while Redis is away."""
        contended = await self.contend(key, owner, life_ms, ())
        return None if contended is None else contended[0]

    async def contend(self, key: str, owner: str, life_ms: int, names: Sequence[str]) -> tuple[bool, list[bytes | None]] | None:
        """The same, with the values of `names`, which share the lease's slot, as they stood just after it."""
        # Asked again when the connection broke under the first try, which may have arrived: then it is the owner's all the same.
        commands: list[Command] = [("SET", key, owner, "PX", life_ms, "NX"), ("GET", key)]
        commands += [("GET", name) for name in names]
        replies = await self._fleet.run("take lease", commands, Deadline(self._fleet.timeout_s))
        if replies is None:
            return None
        return replies[1] == owner.encode(), [value if isinstance(value, bytes) else None for value in replies[2:]]

    async def release(self, key: str, owner: str) -> None:
        """Give it up if it is still the owner's; a later owner's is left alone."""
        await self._fleet.run("release lease", self.releasing(key, owner), Deadline(self._fleet.timeout_s))

    def releasing(self, key: str, owner: str) -> list[Command]:
        """What gives it up, to be sent along with what was made under it."""
        return [("EVAL", _RELEASE, 1, key, owner)]
