"""Ranked pools in Redis: their key, their bytes, and how they are dropped fleet-wide.

A pool holds more candidates than any slate, so neither `limit` nor `exclude_ids` is part of its key. Its value bears the
generations under which it was computed: one for everybody and one for its viewer, random tokens that `invalidate` replaces.
They are read in the same round trip as the pool, and a pool of other generations is a miss. Tokens, not counters: they
expire, and an expired counter would count itself back to a generation that a forgotten pool still bears.
"""

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec
import numpy as np
import structlog
import xxhash
from amity_rankers.contract import Floats, Ids
from numpy.typing import NDArray
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.domain import Profile, RecommendationRequest, Relations
from service.errors import CircuitOpen, RedisUnavailable, StageTimeout
from service.resilience import Breaker, Deadline, bounded
from service.telemetry import POOL_LOOKUPS

SCHEMA = 2
_MAGIC = b"amity-pool" + bytes([SCHEMA])
_DIGEST_BYTES = 8
_GENERATION_OF_ALL = "amity:gen:all"
SHORT_HISTORY = 10
"""Viewers with fewer standing opinions get a fresh computation after each one: it says much about them."""

T = TypeVar("T")

_log = structlog.get_logger("amity.pools")


class Pool(msgspec.Struct, frozen=True, kw_only=True, array_like=True, eq=False):
    """Candidates in the order of their scores, without profiles. The byte strings are little-endian arrays of one length.

    `ids` int64, `scores` float32, `found_by` uint64: bit i is set when `source_names[i]` found the candidate.
    `viewer_digest` stands for what the viewer was and sought. `incarnations`, int32, says which person each id stood for; it is
    empty when all are 1, as they are until an erased id is used again.
    """

    pool_id: UUID
    algorithm_version: str
    bundle_version: str | None
    source_names: tuple[str, ...]
    ids: bytes
    scores: bytes
    found_by: bytes
    viewer_digest: int
    generations: tuple[str, str]
    created_at_s: float
    incarnations: bytes = b""

    def id_array(self) -> Ids:
        return np.frombuffer(self.ids, "<i8")

    def score_array(self) -> Floats:
        return np.frombuffer(self.scores, "<f4")

    def found_by_array(self) -> NDArray[np.uint64]:
        return np.frombuffer(self.found_by, "<u8")

    def reused(self) -> dict[int, int]:
        """The incarnation of each candidate of whom it is not 1."""
        incarnations = np.frombuffer(self.incarnations, "<i4")
        other = np.flatnonzero(incarnations != 1)
        return dict(zip(self.id_array()[other].tolist(), incarnations[other].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.ids) // 8


class PoolKey(msgspec.Struct, frozen=True):
    """All that changes the result, but for the viewer's own state, which the value bears."""

    viewer_id: int
    digest: str

    @classmethod
    def of(cls, request: RecommendationRequest, bundle: str | None, algorithm: tuple[str, str], sources: str) -> "PoolKey":
        """`algorithm` is the ranker's name and its plug-in's version; `sources` the source configuration in words."""
        parts = (bundle, algorithm, sources, request.exclude_seen, request.filters)
        return cls(request.viewer_id, xxhash.xxh3_128_hexdigest(msgspec.msgpack.encode(parts)))

    @property
    def pool(self) -> str:
        return f"amity:pool:{self.viewer_id}:{self.digest}"

    @property
    def generation(self) -> str:
        return _generation_of(self.viewer_id)


class PoolRead(msgspec.Struct, frozen=True, eq=False):
    """What one look brought. `generations` is None while Redis is away: what is computed then is not stored."""

    pool: Pool | None
    generations: tuple[str, str] | None


def viewer_digest(viewer: Profile, relations: Relations) -> int:
    """A number for what the viewer is and seeks and, while the history is short, thinks of others.

    Compared on every use of a pool with the viewer as the database has it now, so that an edited profile and a newcomer's
    like count at once on every replica, even when Redis missed the news.
    """
    opinions = sorted(relations.liked), sorted(relations.passed)
    history = opinions if len(opinions[0]) + len(opinions[1]) < SHORT_HISTORY else None
    state = (
        (viewer.incarnation, viewer.age, viewer.gender, viewer.location, viewer.latitude, viewer.longitude),
        (viewer.bio, viewer.interests),
        (viewer.seeks_genders, viewer.seeks_min_age, viewer.seeks_max_age, viewer.seeks_max_km),
        history,
    )
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(state))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Pool)


def encode(pool: Pool) -> bytes:
    payload = _encoder.encode(pool)
    return _MAGIC + xxhash.xxh3_64_digest(payload) + payload


def decode(value: bytes) -> Pool | None:
    """The pool, or None for bytes of another schema, of somebody else, or damaged."""
    start = len(_MAGIC) + _DIGEST_BYTES
    payload = value[start:]
    if not value.startswith(_MAGIC) or value[len(_MAGIC) : start] != xxhash.xxh3_64_digest(payload):
        return None
    try:
        pool = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a ValidationError is a DecodeError
        return None
    n = len(pool)
    fits = (len(pool.ids), len(pool.scores), len(pool.found_by)) == (8 * n, 4 * n, 8 * n)
    return pool if fits and len(pool.incarnations) in (0, 4 * n) else None


def redis_client(url: str, timeout_s: float) -> Redis:
    """A client that fails fast: redis-py 8.1 by itself waits 5 s and tries 10 times."""
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        decode_responses=False,
    )


class RedisPools:
    """The PoolStore of a fleet. Whatever Redis does, a call ends within its timeout, and nothing is raised."""

    def __init__(self, redis: Redis, ttl_s: int, timeout_s: float, breaker: Breaker) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._breaker = breaker

    async def read(self, key: PoolKey, deadline: Deadline) -> PoolRead:
        """The pool of the current generations and those generations, in one round trip."""
        return await self._read([key.pool, _GENERATION_OF_ALL, key.generation], deadline)

    async def read_generations(self, key: PoolKey, deadline: Deadline) -> PoolRead:
        """Only the generations, for a request that wants no stored pool but whose own is to be stored."""
        return await self._read([_GENERATION_OF_ALL, key.generation], deadline)

    async def write(self, key: PoolKey, pool: Pool) -> None:
        """Keep a pool for about `ttl_s`: a tenth of jitter, so that pools made together do not lapse together."""
        life_s = max(1, round(self._ttl_s * random.uniform(0.9, 1.1)))
        value = encode(pool)
        await self._attempt("write", lambda: self._redis.set(key.pool, value, ex=life_s), Deadline(self._timeout_s))

    async def invalidate(self, viewer_ids: Sequence[int] | None) -> bool:
        """Drop the pools of these viewers (None: of all) on every replica. False when Redis did not take it."""
        names = [_GENERATION_OF_ALL] if viewer_ids is None else [_generation_of(viewer_id) for viewer_id in viewer_ids]
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.set(name, secrets.token_hex(8), ex=2 * self._ttl_s + 60)  # longer than any pool that bears an older one
        return await self._attempt("invalidate", pipeline.execute, Deadline(self._timeout_s)) is not None

    async def close(self) -> None:
        await self._redis.aclose()

    async def _read(self, names: list[str], deadline: Deadline) -> PoolRead:
        values = await self._attempt("read", lambda: self._redis.mget(names), deadline.at_most(self._timeout_s))
        if values is None:
            POOL_LOOKUPS.labels("unavailable").inc()
            return PoolRead(None, None)
        *stored, everybody, own = (bytes(value) if isinstance(value, bytes) else b"" for value in values)
        generations = (everybody.decode("ascii", "replace"), own.decode("ascii", "replace"))
        pool = decode(stored[0]) if stored and stored[0] else None
        if pool is not None and pool.generations != generations:
            pool = None
        if stored:
            POOL_LOOKUPS.labels("hit" if pool else "unusable" if stored[0] else "miss").inc()
        return PoolRead(pool, generations)

    async def _attempt(self, what: str, command: Callable[[], Awaitable[T]], deadline: Deadline) -> T | None:
        """The command's answer, or None while Redis is away; the breaker spares most calls the timeout of one that hangs."""
        try:
            with self._breaker.guard(RedisUnavailable):
                return await _translated(command, deadline)
        except CircuitOpen:
            return None
        except RedisUnavailable as exc:
            _log.warning("redis unavailable", command=what, cause=type(exc.__cause__).__name__)
            return None


def _generation_of(viewer_id: int) -> str:
    return f"amity:gen:{viewer_id}"


async def _translated(command: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
    try:
        return await bounded(command(), deadline)
    except (RedisError, OSError, StageTimeout) as exc:
        raise RedisUnavailable from exc
