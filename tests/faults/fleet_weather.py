"""Which replicas were cut off Redis, and when: what was written or read then is heeded later."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

RECOVERY_S = 3.0
"""After a fault: a breaker's 2 s of cool-down, and the probe that ends them."""
STRUCK_S = 0.5
"""From the announcement of a fault until it has surely begun."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`clean`: whoever asked Redis was refused, and nothing that was sent came through later."""

    replicas: frozenset[int]
    clean: bool
    begun_s: float
    ended_s: float = float("inf")


class Weather:
    """Faults of the link between replicas and Redis, one after another."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def worsen(self, replicas: Iterable[int], *, clean: bool) -> None:
        """To be called before a fault begins, and `clear` when it has ended."""
        self._faults.append(Fault(frozenset(replicas), clean, time.monotonic()))

    def clear(self) -> None:
        self._faults[-1] = replace(self._faults[-1], ended_s=time.monotonic())

    def told(self, replica: int, begun_s: float, ended_s: float) -> bool:
        """Whether what was written through a replica went through Redis as well."""
        return not any(f.begun_s <= ended_s and begun_s <= f.ended_s + RECOVERY_S for f in self._of(replica))

    def late_until_s(self, replica: int) -> float:
        """Of what was written up to then a replica may have missed the news."""
        return max((fault.ended_s + RECOVERY_S for fault in self._of(replica)), default=float("-inf"))

    def alone(self, replica: int, begun_s: float, ended_s: float) -> bool:
        """Whether a replica had no Redis from the one moment to the other."""
        return any(f.clean and f.begun_s + STRUCK_S <= begun_s and ended_s <= f.ended_s for f in self._of(replica))

    def _of(self, replica: int) -> list[Fault]:
        return [fault for fault in self._faults if replica in fault.replicas]
