"""Ranked pools: what one is, its key, its bytes, and for whom and how long it may be used.

A pool holds more candidates than any slate, so neither `limit` nor `exclude_ids` is part of its key. Its value bears the
generations under which it was computed: one for everybody and one for its viewer, random tokens that `refresh` and withdrawals
replace. They are read together with the pool, and a pool of other generations is a miss.
"""

from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec
import numpy as np
import xxhash
from amity_rankers.contract import Floats, Ids
from numpy.typing import NDArray

from service.domain import Filters, Profile, RecommendationRequest, Relations
from service.fleet import keys

SCHEMA = 3
_MAGIC = b"amity-pool" + bytes([SCHEMA])
_DIGEST_BYTES = 8
SHORT_HISTORY = 10
"""Viewers with fewer standing opinions get a fresh computation after each one: it says much about them."""
OPINIONS_S = 10.0
"""With more, the pool serves on, filtered, and is renewed when it is older than this: whoever swipes through a list must not
cause a computation each time."""
_STRUCT_BYTES = 1000
"""A pool's Struct, names and headers of byte strings, beside the arrays."""

Standing = Literal["hit", "stale", "unusable"]


class Pool(msgspec.Struct, frozen=True, kw_only=True, array_like=True, eq=False):
    """Candidates in the order of their scores, without profiles. The byte strings are little-endian arrays of one length.

    `ids` int64, `scores` float32, `found_by` uint64: bit i is set when `source_names[i]` found the candidate.
    `viewer_digest` stands for what the viewer was and sought, `opinions` for all whom the viewer liked and passed.
    `incarnations`, int32, says which person each id stood for; it is empty when all are 1, as they are until an erased id is used
    again.
    """

    pool_id: UUID
    algorithm_version: str
    bundle_version: str | None
    source_names: tuple[str, ...]
    ids: bytes
    scores: bytes
    found_by: bytes
    viewer_digest: int
    opinions: int
    generations: tuple[str, str]
    created_at_s: float
    incarnations: bytes = b""

    def id_array(self) -> Ids:
        return np.frombuffer(self.ids, "<i8")

    def score_array(self) -> Floats:
        return np.frombuffer(self.scores, "<f4")

    def found_by_array(self) -> NDArray[np.uint64]:
        return np.frombuffer(self.found_by, "<u8")

    @property
    def lot_seed(self) -> int:
        """What the lots of exploration are drawn from, so that all slates out of one pool draw alike."""
        return self.pool_id.int & (2**64 - 1)

    def reused(self) -> dict[int, int]:
        """The incarnation of each candidate of whom it is not 1."""
        if not self.incarnations:
            return {}
        incarnations = np.frombuffer(self.incarnations, "<i4")
        other = np.flatnonzero(incarnations != 1)
        return dict(zip(self.id_array()[other].tolist(), incarnations[other].tolist(), strict=True))

    @property
    def n_bytes(self) -> int:
        """What it takes of memory, about."""
        return len(self.ids) + len(self.scores) + len(self.found_by) + len(self.incarnations) + _STRUCT_BYTES

    def __len__(self) -> int:
        return len(self.ids) // 8


Digest = Callable[[Filters, bool, str | None, tuple[str, str], str], str]


def digest_of(filters: Filters, exclude_seen: bool, bundle: str | None, algorithm: tuple[str, str], sources: str) -> str:
    """What a key holds beside the viewer."""
    return xxhash.xxh3_128_hexdigest(msgspec.msgpack.encode((bundle, algorithm, sources, exclude_seen, filters)))


class PoolKey(msgspec.Struct, frozen=True):
    """All that changes the result, but for the viewer's own state, which the value bears."""

    viewer_id: int
    digest: str

    @classmethod
    def of(
        cls,
        request: RecommendationRequest,
        bundle: str | None,
        algorithm: tuple[str, str],
        sources: str,
        digest: Digest = digest_of,
    ) -> "PoolKey":
        """`algorithm` is the ranker's name and its plug-in's version; `sources` the source configuration in words; `digest` is
        `digest_of`, or one that keeps what that gave."""
        return cls(request.viewer_id, digest(request.filters, request.exclude_seen, bundle, algorithm, sources))

    @property
    def pool(self) -> str:
        return keys.pool(self.viewer_id, self.digest)

    @property
    def lease(self) -> str:
        return keys.lease(self.viewer_id, self.digest)


class Lives(msgspec.Struct, frozen=True):
    """How long pools are used: past `soft_s`, give or take a tenth, one is stale and serves until it is renewed, at most
    `stale_s` more."""

    soft_s: int
    stale_s: int

    @property
    def hard_s(self) -> int:
        return self.soft_s + self.stale_s

    @property
    def token_s(self) -> int:
        """Life of tokens: longer than that of any pool that bears an older one."""
        return 2 * self.hard_s + 60

    def fresh_until_s(self, pool: Pool) -> float:
        """When a pool gets stale, in seconds since 1970. The jitter comes of the pool's id, so that pools made together do not
        lapse together, and all replicas agree on each."""
        return pool.created_at_s + self.soft_s * (0.9 + 0.2 * (pool.pool_id.int & 0xFFFF) / 0xFFFF)


class ViewerMarks(msgspec.Struct, frozen=True):
    """What of a viewer decides whether a pool may be used."""

    digest: int
    opinions: int

    @classmethod
    def of(cls, viewer: Profile, relations: Relations) -> "ViewerMarks":
        return cls(viewer_digest(viewer, relations), opinions_digest(relations))

    def fresh_until_s(self, pool: Pool, lives: Lives) -> float:
        """When the pool gets stale for this viewer, whose opinions may have changed since it was made."""
        soft_s = lives.fresh_until_s(pool)
        return soft_s if pool.opinions == self.opinions else min(soft_s, pool.created_at_s + OPINIONS_S)


def viewer_digest(viewer: Profile, relations: Relations) -> int:
    """A number for what the viewer is and seeks and, while the history is short, thinks of others.

    Compared on every use of a pool with the viewer as the database has it now, so that an edited profile and a newcomer's
    like count at once on every replica, even when Redis missed the news.
    """
    is_short = len(relations.liked) + len(relations.passed) < SHORT_HISTORY
    state = (
        (viewer.incarnation, viewer.age, viewer.gender, viewer.location, viewer.latitude, viewer.longitude),
        (viewer.bio, viewer.interests),
        (viewer.seeks_genders, viewer.seeks_min_age, viewer.seeks_max_age, viewer.seeks_max_km),
        (sorted(relations.liked), sorted(relations.passed)) if is_short else None,
    )
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(state))


def opinions_digest(relations: Relations) -> int:
    """A number for all whom the viewer likes and passes; .4 ms for 10,000."""
    digest = xxhash.xxh3_64()
    for side in (relations.liked, relations.passed):
        digest.update(np.sort(np.fromiter(side, np.int64, len(side))).tobytes() + b"|")
    return digest.intdigest()


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
