"""One computation of a pool in the fleet, and nobody waits long for another's."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.fleet.wire import Command
from service.recommend.pool_store import Pools
from service.recommend.pools import Pool, PoolKey, decode
from service.recommend.ports import LeaseOffice
from service.resilience import Deadline

LEASE_MS = 1000
"""A computation takes 5 to 250 ms; of one whose replica has died, others wait WAIT_S each for no longer than this."""
WAIT_S = 0.05
_LOOK_EVERY_S = 0.005


@dataclass(slots=True, eq=False)
class Lease:
    """Whether this replica is the one that makes the pool; None while Redis is away. `found` is the pool that stood just after:
    whoever gets the lease may come when another has stored it and given the lease up."""

    is_mine: bool | None
    found: Pool | None = None
    giving_up: tuple[Command, ...] = ()
    """To be sent along with what is stored, which spares a round trip; `is_over` then."""
    is_over: bool = False


class Once:
    """Leases of pools that are being made, and the waiting for those of others."""

    def __init__(self, leases: LeaseOffice, pools: Pools, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._leases = leases
        self._pools = pools
        self._sleep = sleep

    @asynccontextmanager
    async def lease(self, key: PoolKey) -> AsyncIterator[Lease]:
        """The lease of a pool. Given up at the end, also of a computation that failed or was not stored."""
        owner = secrets.token_hex(8)
        contended = await self._leases.contend(key.lease, owner, LEASE_MS, [key.pool])
        lease = Lease(None)
        if contended is not None:
            is_mine, (value,) = contended
            lease = Lease(is_mine, decode(value) if value else None, tuple(self._leases.releasing(key.lease, owner)))
        try:
            yield lease
        finally:
            if lease.is_mine and not lease.is_over:
                await self._leases.release(key.lease, owner)

    async def awaited(self, key: PoolKey, suits: Callable[[Pool], bool], deadline: Deadline) -> Pool | None:
        """The pool that somebody else is making; None when it does not come within WAIT_S, or the lease was given up without
        it. The last look is after WAIT_S: on a busy machine the pool may have come while this waited for its turn."""
        waiting = deadline.at_most(WAIT_S)
        while True:
            left_s = waiting.remaining_s()
            pool, is_leased = await self._pools.stored(key, deadline.at_most(max(left_s, _LOOK_EVERY_S)))
            if pool is not None and suits(pool):
                return pool
            if not is_leased or left_s <= 0:
                return None
            await self._sleep(min(_LOOK_EVERY_S, left_s))
