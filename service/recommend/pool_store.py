"""Pools where they are kept: in Redis for all replicas, and the fresh ones in process, which saves bringing and decoding them."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from service.fleet.tokens import Asked, Tokens
from service.fleet.wire import Command
from service.metrics import POOL_LOOKUPS
from service.recommend.bounded import Bounded
from service.recommend.pools import Lives, Pool, PoolKey, ViewerMarks, decode, encode
from service.recommend.ports import SharedStore, TokenSource
from service.resilience import Deadline

_LONGEST_S = 1.0
"""Bound on a write where no request's deadline counts; Redis' own time limit is shorter."""


class Wanted(msgspec.Struct, frozen=True):
    """Which pool is looked for: `key`, or for a while after a new bundle `previous`, that of the bundle before, which serves
    stale. `use_cache` False: only the tokens, under which a pool may be stored. `is_stranger`: a viewer of whom nothing is held,
    and whose tokens are made with the same look."""

    key: PoolKey
    bundle_version: str | None
    previous: PoolKey | None = None
    use_cache: bool = True
    is_stranger: bool = False

    @property
    def names(self) -> list[str]:
        return [key.pool for key in (self.key, self.previous) if key is not None]


class Look(msgspec.Struct, frozen=True, eq=False):
    """What one look brought. `tokens` None while Redis is away: what is computed then is not stored."""

    tokens: Tokens | None
    pools: tuple[Pool, ...] = ()
    """The wanted one first."""
    is_held: bool = False
    is_damaged: bool = False

    @property
    def generations(self) -> tuple[str, str] | None:
        return None if self.tokens is None else generations_of(self.tokens)


class Found(msgspec.Struct, frozen=True, eq=False):
    """A pool that may be used, or None; `standing` `stale` when somebody should renew it."""

    pool: Pool | None
    standing: Literal["hit", "stale", "miss", "unusable", "unavailable", "unasked"]


class Stored(msgspec.Struct, frozen=True, eq=False):
    """What a Redis answered that was there to take a pool: the viewer's tokens as they stood just after it, None where they have
    to be read by themselves."""

    tokens: Tokens | None


class Pools:
    """Whatever Redis does, a call ends within its time limit, and nothing is raised."""

    def __init__(self, redis: SharedStore, tokens: TokenSource, lives: Lives, max_bytes: int) -> None:
        self._redis = redis
        self._tokens = tokens
        self.lives = lives
        self._held: Bounded[PoolKey, Pool] = Bounded("pool", max_bytes, lambda pool: pool.n_bytes)

    async def look(self, wanted: Wanted, deadline: Deadline, now_s: float) -> Look:
        """The viewer's tokens and, unless a fresh one is held, the pool, in one read that is shared with other requests."""
        held = self._held.get(wanted.key) if wanted.use_cache else None
        if held is not None and now_s < self.lives.fresh_until_s(held):
            read = await self._tokens.read(wanted.key.viewer_id, (), deadline)
            return Look(read[0], (held,), is_held=True) if read is not None else Look(None)
        return await self._read(wanted, deadline)

    async def choose(self, look: Look, wanted: Wanted, marks: ViewerMarks, deadline: Deadline, now_s: float) -> Found:
        """The pool that this viewer may be served from. One that is held and of no use is looked for in Redis once more: another
        replica may have made it anew."""
        found = self._judged(look, wanted, marks, now_s)
        if look.is_held and found.standing != "hit":
            self._held.pop(wanted.key)
        if look.is_held and found.pool is None:
            again = await self._read(wanted, deadline)
            found = self._judged(msgspec.structs.replace(again, tokens=look.tokens), wanted, marks, now_s)
        if found.pool is not None and found.standing == "hit" and not look.is_held:
            self._held.put(wanted.key, found.pool)
        if wanted.use_cache:
            self._held.count(look.is_held and found.standing == "hit")
            POOL_LOOKUPS.labels(found.standing).count()
        return found

    async def tokens(self, viewer_id: int, deadline: Deadline) -> Tokens | None:
        """The viewer's tokens now; None while Redis is away."""
        read = await self._tokens.read(viewer_id, (), deadline)
        return None if read is None else read[0]

    def begin_tokens(self, viewer_id: int) -> Asked | None:
        """The same for who has no coroutine to wait in: raw, and none are made. None at once while Redis is known to be away."""
        return self._tokens.begin_read(viewer_id)

    async def stored(self, key: PoolKey, deadline: Deadline) -> tuple[Pool | None, bool]:
        """What Redis has now, whatever it is good for, and whether somebody has the lease of it."""
        read = await self._tokens.read(key.viewer_id, (key.pool, key.lease), deadline)
        if read is None:
            return None, False
        value, lease = read[1]
        return decode(value) if value else None, lease is not None

    async def write(self, key: PoolKey, pool: Pool, along: Sequence[Command] = ()) -> Stored | None:
        """Keep a pool for its hard life, here and for all; None when Redis was not there to take it, and what was sent along."""
        self._held.put(key, pool)
        store = ("SET", key.pool, encode(pool), "EX", self.lives.hard_s)
        prolonged = self._tokens.prolonged(key.viewer_id)
        replies = await self._redis.run("store pool", [store, *prolonged, *along], Deadline(_LONGEST_S))
        return None if replies is None else Stored(Tokens.told(replies[1 : 1 + len(prolonged)]))

    async def _read(self, wanted: Wanted, deadline: Deadline) -> Look:
        names = wanted.names if wanted.use_cache else ()
        read = await self._tokens.read(wanted.key.viewer_id, names, deadline, wanted.is_stranger)
        if read is None:
            return Look(None)
        pools = tuple(pool for value in read[1] if value and (pool := decode(value)) is not None)
        return Look(read[0], pools, is_damaged=len(pools) < sum(value is not None for value in read[1]))

    def _judged(self, look: Look, wanted: Wanted, marks: ViewerMarks, now_s: float) -> Found:
        if look.tokens is None:
            return Found(None, "unavailable")
        of_viewer = generations_of(look.tokens), marks.digest
        for pool in look.pools:
            if (pool.generations, pool.viewer_digest) == of_viewer:
                is_fresh = pool.bundle_version == wanted.bundle_version and now_s < marks.fresh_until_s(pool, self.lives)
                return Found(pool, "hit" if is_fresh else "stale")
        if not wanted.use_cache:
            return Found(None, "unasked")
        return Found(None, "unusable" if look.pools or look.is_damaged else "miss")


HELD_SLATE = {"amity.pool.outcome": "hit", "amity.pool.from": "slate"}
HELD_NO_MORE = {"amity.pool.outcome": "unusable", "amity.pool.from": "slate"}


def told_of(*looks: tuple[Look, Found]) -> dict[str, str]:
    """What looking for pools came to, as attributes of a span: one of each where two rankers share a slate. `from` is where a
    pool came from: held in this process, or Redis."""
    origins = ("held" if look.is_held else "redis" if look.pools or look.is_damaged else "nowhere" for look, _ in looks)
    return {
        "amity.pool.outcome": "+".join(found.standing for _, found in looks),
        "amity.pool.from": "+".join(origins),
    }


def generations_of(tokens: Tokens) -> tuple[str, str]:
    """What a pool bears that is made under these tokens."""
    return tokens.everyone, tokens.generation
