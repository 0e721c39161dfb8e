"""Which pool a viewer is served from: fresh, stale or none, held or looked for."""

from typing import Any
from uuid import UUID

import pytest

from service.domain import RecommendationRequest, Relations
from service.fleet import keys
from service.recommend.identifiers import uuid7
from service.recommend.pool_store import Found, Pools, Wanted
from service.recommend.pools import OPINIONS_S, Lives, Pool, PoolKey, ViewerMarks, encode, opinions_digest
from service.resilience import Deadline
from tests.fakes import MemoryRedis
from tests.unit.test_pools import some_pool

LIVES = Lives(600, 300)
KEY = PoolKey.of(RecommendationRequest(viewer_id=1), "b1", ("v1", "1"), "s")
BEFORE = PoolKey.of(RecommendationRequest(viewer_id=1), "b0", ("v1", "1"), "s")
MARKS = ViewerMarks(5, 6)


class Case:
    """One replica's store on a Redis; `pool` is one that suits."""

    def __init__(self, redis: MemoryRedis | None = None) -> None:
        self.redis = redis or MemoryRedis()
        self.store = Pools(self.redis, self.redis, LIVES, 1 << 20)

    async def pool(self, **changes: Any) -> Pool:
        tokens = await self.store.tokens(1, Deadline(1.0))
        assert tokens is not None
        return some_pool(generations=(tokens.everyone, tokens.generation), created_at_s=0.0, **changes)

    async def find(self, now_s: float = 1.0, marks: ViewerMarks = MARKS, **changes: Any) -> Found:
        wanted = Wanted(**{"key": KEY, "bundle_version": "b1", **changes})
        look = await self.store.look(wanted, Deadline(1.0), now_s)
        return await self.store.choose(look, wanted, marks, Deadline(1.0), now_s)

    async def standing(self, now_s: float = 1.0, marks: ViewerMarks = MARKS, **changes: Any) -> str:
        return (await self.find(now_s, marks, **changes)).standing


async def test_a_stored_pool_is_a_hit_for_every_replica() -> None:
    one = Case()
    await one.store.write(KEY, await one.pool())
    assert (await one.standing(), await Case(one.redis).standing()) == ("hit", "hit")


async def test_a_pool_that_is_held_is_not_brought_again() -> None:
    case, other = Case(), Case()
    other.redis = case.redis
    await case.store.write(KEY, await case.pool())
    reader = Case(case.redis)
    await reader.find()
    case.redis.looks.clear()
    found = await reader.find()
    assert (found.standing, case.redis.looks) == ("hit", [()])


async def test_nothing_there_is_a_miss() -> None:
    assert await Case().standing() == "miss"


async def test_without_redis_there_is_none_even_if_one_is_held() -> None:
    case = Case()
    await case.store.write(KEY, await case.pool())
    case.redis.away = True
    assert await case.standing() == "unavailable"


async def test_without_use_cache_only_tokens_are_read() -> None:
    case = Case()
    await case.store.write(KEY, await case.pool())
    case.redis.looks.clear()
    assert (await case.standing(use_cache=False), case.redis.looks) == ("unasked", [()])


@pytest.mark.parametrize("viewers", [[1], None])
async def test_dropped_pools_are_unusable_held_or_not(viewers: list[int] | None) -> None:
    case = Case()
    await case.store.write(KEY, await case.pool())
    await case.redis.drop_pools(viewers)
    assert (await case.standing(), await Case(case.redis).standing()) == ("unusable", "unusable")


async def test_a_pool_of_what_the_viewer_was_is_unusable() -> None:
    case = Case()
    await case.store.write(KEY, await case.pool())
    assert await case.standing(marks=ViewerMarks(7, 6)) == "unusable"


async def test_damaged_bytes_are_unusable() -> None:
    case = Case()
    case.redis.values[KEY.pool] = encode(await case.pool())[:-1]
    assert await case.standing() == "unusable"


async def test_a_held_pool_of_no_use_is_looked_for_in_redis_where_another_replica_has_made_it_anew() -> None:
    case = Case()
    other = Case(case.redis)
    await case.store.write(KEY, await case.pool())
    await other.store.write(KEY, await case.pool(viewer_digest=7))
    assert await case.standing(marks=ViewerMarks(7, 6)) == "hit"


async def test_a_pool_is_stale_after_its_soft_life_and_then_no_more_held() -> None:
    case = Case()
    await case.store.write(KEY, await case.pool())
    assert await case.standing(now_s=539.0) == "hit"
    assert await case.standing(now_s=661.0) == "stale"
    other = Case(case.redis)
    await other.store.write(KEY, some_pool(**{**as_dict(await case.pool()), "created_at_s": 650.0}))
    found = await case.find(now_s=661.0)
    assert (found.standing, found.pool and found.pool.created_at_s) == ("hit", 650.0)


def as_dict(pool: Pool) -> dict[str, Any]:
    return {name: getattr(pool, name) for name in pool.__struct_fields__}


async def test_other_opinions_make_a_pool_stale_once_it_is_older_than_some_seconds() -> None:
    case = Case()
    await case.store.write(KEY, await case.pool())
    others = ViewerMarks(5, 7)
    assert await case.standing(now_s=OPINIONS_S - 0.1, marks=others) == "hit"
    assert await case.standing(now_s=OPINIONS_S + 0.1, marks=others) == "stale"


async def test_the_pool_of_the_bundle_before_serves_stale_where_there_is_no_new_one() -> None:
    case = Case()
    await case.store.write(BEFORE, await case.pool(bundle_version="b0"))
    reader = Case(case.redis)
    assert await reader.standing() == "miss"
    assert await reader.standing(previous=BEFORE) == "stale"
    await case.store.write(KEY, await case.pool())
    assert await reader.standing(previous=BEFORE) == "hit"


async def test_both_pools_are_one_look() -> None:
    case = Case()
    await case.find(previous=BEFORE)
    assert case.redis.looks == [(KEY.pool, BEFORE.pool)]


def test_soft_lives_vary_by_a_tenth_and_every_replica_agrees_on_each() -> None:
    pools = [some_pool(pool_id=uuid7(), created_at_s=0.0) for _ in range(200)]
    lives = [LIVES.fresh_until_s(pool) for pool in pools]
    assert lives == [Lives(600, 0).fresh_until_s(some_pool(pool_id=pool.pool_id, created_at_s=0.0)) for pool in pools]
    assert all(540 <= life <= 660 for life in lives)
    assert max(lives) - min(lives) > 100
    assert LIVES.fresh_until_s(some_pool(pool_id=UUID(int=0), created_at_s=0.0)) == 540


def test_all_opinions_count_however_many_and_in_whatever_order() -> None:
    many = Relations(liked=frozenset(range(1, 100)), passed=frozenset({200}))
    same = Relations(liked=frozenset(reversed(range(1, 100))), passed=frozenset({200}))
    one_more = Relations(liked=frozenset(range(1, 101)), passed=frozenset({200}))
    moved = Relations(liked=frozenset(range(1, 99)), passed=frozenset({200, 99}))
    assert len({opinions_digest(one) for one in (many, one_more, moved)}) == 3
    assert opinions_digest(many) == opinions_digest(same)


def test_all_that_is_of_one_viewer_is_in_one_slot() -> None:
    names = (KEY.pool, KEY.lease, keys.version(1), keys.generation(1))
    assert {name.partition("}")[0] for name in names} == {"amity:{1"}
