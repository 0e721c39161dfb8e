"""Finished slates, held as JSON: what a hit is served from.

A held slate stands for as long as all that it was made of does: the viewer's state under an unchanged version token, the
generations of its pool, the pool's freshness, and the profiles of those who are shown, of whom news would have told. Nothing has
to be dropped, since each use looks at all four.
"""

from dataclasses import dataclass
from weakref import ReferenceType, ref

from service.domain import RecommendationRequest
from service.fleet.tokens import Asked, Tokens
from service.metrics import POOL_LOOKUPS
from service.recommend.answers import shown_people
from service.recommend.bounded import Bounded
from service.recommend.fragments import Fragments, SlateJson, slate_head, slate_tail
from service.recommend.pool_store import generations_of
from service.recommend.pools import Lives, PoolKey
from service.recommend.ready import Finished
from service.recommend.turns import Course, Turn
from service.recommend.viewers import Viewers, ViewerState

_STAMP_BYTES = 400
_POOL_HITS = POOL_LOOKUPS.labels("hit")

Place = tuple[PoolKey, int]
"""A pool's key and the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldSlate:
    """A slate and what it was made of. `people_since`: the clock of drops of profiles before they were read. The viewer's
    state is held elsewhere: what is let go there must not live on here."""

    finished: Finished
    viewer: ReferenceType[ViewerState]
    generations: tuple[str, str]
    fresh_until_s: float
    people_since: int


@dataclass(frozen=True, slots=True, eq=False)
class Promise:
    """An answer that is there, if the tokens that are `asked` for say that it still stands."""

    request: RecommendationRequest
    key: PoolKey
    held: HeldSlate
    asked: Asked
    started_s: float


class Slates:
    """Slates by pool and limit, at most `max_bytes` of them."""

    def __init__(self, viewers: Viewers, fragments: Fragments, lives: Lives, max_bytes: int) -> None:
        self._viewers = viewers
        self._fragments = fragments
        self._lives = lives
        self._held: Bounded[Place, HeldSlate] = Bounded("slate", max_bytes, lambda held: held.finished.n_bytes + _STAMP_BYTES)

    def find(self, key: PoolKey, limit: int) -> HeldSlate | None:
        """The slate of that place, whether or not it still stands."""
        held = self._held.get((key, limit))
        if held is None:
            self._held.count(False)
        return held

    def stands(self, held: HeldSlate, key: PoolKey, tokens: Tokens, now_s: float) -> bool:
        """Whether it may be shown, by tokens that were read just now; if not, it is forgotten."""
        people, viewer = held.finished.people.candidate_ids, held.viewer()
        stands = (
            viewer is not None
            and self._viewers.held(key.viewer_id, tokens.version) is viewer
            and held.generations == (tokens.everyone, tokens.generation)
            and now_s < held.fresh_until_s
            and self._fragments.usable
            and self._fragments.drops.is_fresh(people, held.people_since)
        )
        self._held.count(stands)
        if stands:
            _POOL_HITS.count()
        else:
            self._held.pop((key, len(people)))
        return stands

    def keep(self, turn: Turn, course: Course) -> Finished | None:
        """Hold a slate, if it is one that the next request may be served from; as it is held then."""
        if not self._is_whole(turn, course) or course.tokens is None:
            return None
        pool, viewer = course.pool, course.viewer
        fresh_until_s = viewer.marks.fresh_until_s(pool, self._lives)
        is_usable = (pool.generations, pool.viewer_digest) == (generations_of(course.tokens), viewer.marks.digest)
        is_current = pool.bundle_version == turn.memory.bundle_version and turn.now_s < fresh_until_s
        if not (is_usable and is_current and viewer.token == course.tokens.version):
            return None
        head = slate_head([one.entry for one in course.shown], pool.algorithm_version, pool.bundle_version, turn.arm)
        finished = Finished(
            json=SlateJson(head, slate_tail(cached=True)),
            people=shown_people(course.shown),
            pool_id=pool.pool_id,
            n_candidates=len(pool),
            algorithm_version=pool.algorithm_version,
            bundle_version=pool.bundle_version,
            experiment=turn.arm,
        )
        held = HeldSlate(finished, ref(viewer), pool.generations, fresh_until_s, course.people_since)
        self._held.put((turn.wanted.key, turn.request.limit), held)
        return finished

    def clear(self) -> None:
        self._held.clear()

    def _is_whole(self, turn: Turn, course: Course) -> bool:
        """Full, not bent, and good for more than this moment and this request: who was active within some days may cease to be
        so by the passing of time, and what nobody sees is of no arm, in whose place it would stand."""
        request = turn.request
        return (
            request.recorded
            and len(course.shown) == request.limit
            and not turn.trail.degraded
            and not request.exclude_ids
            and request.filters.active_within_days is None
            and self._fragments.usable
        )
