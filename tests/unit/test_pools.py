"""The key of a pool, its bytes, and the computing of it once."""

import asyncio
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Filters, RecommendationRequest, Relations
from service.recommend.flights import SingleFlight
from service.recommend.pools import SHORT_HISTORY, Pool, PoolKey, decode, encode, viewer_digest
from tests.fakes import person


def some_pool(n: int = 3, **changes: Any) -> Pool:
    values: dict[str, Any] = {
        "pool_id": UUID(int=1),
        "algorithm_version": "v1",
        "bundle_version": "b1",
        "source_names": ("explore", "newcomers"),
        "ids": np.arange(1, n + 1, dtype="<i8").tobytes(),
        "scores": np.linspace(1, 0, n, dtype="<f4").tobytes(),
        "found_by": np.full(n, 3, "<u8").tobytes(),
        "viewer_digest": 5,
        "opinions": 6,
        "generations": ("", "x"),
        "created_at_s": 1.5,
    }
    return Pool(**(values | changes))


def key(bundle: str | None = "b1", algorithm: tuple[str, str] = ("v1", "1"), sources: str = "s", **asked: Any) -> PoolKey:
    return PoolKey.of(RecommendationRequest(**{"viewer_id": 1, **asked}), bundle, algorithm, sources)


def test_a_pool_survives_its_bytes() -> None:
    pool = decode(encode(some_pool()))
    assert pool is not None
    assert (pool.id_array().tolist(), pool.score_array().tolist(), pool.found_by_array().tolist()) == (
        [1, 2, 3],
        [1.0, 0.5, 0.0],
        [3, 3, 3],
    )
    assert (pool.pool_id, pool.generations, pool.source_names) == (UUID(int=1), ("", "x"), ("explore", "newcomers"))


@pytest.mark.parametrize("value", [b"", b"x", b"\x80", b"amity-pool", b"amity-pool\x01" + bytes(40), b"{}"])
def test_foreign_bytes_are_no_pool(value: bytes) -> None:
    assert decode(value) is None


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_byte_is_noticed_wherever_it_is(place: int, change: int) -> None:
    value = bytearray(encode(some_pool()))
    value[place % len(value)] ^= change
    assert decode(bytes(value)) is None


def test_a_pool_of_another_schema_is_no_pool() -> None:
    value = bytearray(encode(some_pool()))
    value[len(b"amity-pool")] += 1
    assert decode(bytes(value)) is None


@pytest.mark.parametrize("pool", [some_pool(ids=bytes(8)), some_pool(incarnations=bytes(8))])
def test_arrays_of_unequal_length_are_no_pool(pool: Pool) -> None:
    assert decode(encode(pool)) is None


def test_only_ids_that_were_used_again_have_an_incarnation_of_their_own() -> None:
    assert some_pool().reused() == {}
    assert some_pool(incarnations=np.array([1, 3, 0], "<i4").tobytes()).reused() == {2: 3, 3: 0}


def test_the_key_holds_all_that_changes_the_result() -> None:
    keys = [
        key(),
        key(viewer_id=2),
        key(bundle="b2"),
        key(bundle=None),
        key(algorithm=("v2", "1")),
        key(algorithm=("v1", "2")),
        key(sources="t"),
        key(exclude_seen=False),
        key(filters=Filters(min_age=20)),
        key(filters=Filters(max_age=20)),
        key(filters=Filters(genders=("a",))),
        key(filters=Filters(locations=("a",))),
    ]
    assert len({one.pool for one in keys}) == len(keys)


def test_the_key_holds_nothing_that_is_applied_after_the_pool() -> None:
    assert key() == key(limit=3, exclude_ids=frozenset({2}), request_id="r", use_cache=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"age": 31},
        {"gender": "a"},
        {"latitude": 1.0, "longitude": 1.0},
        {"seeks_genders": ("a",)},
        {"seeks_min_age": 20},
        {"seeks_max_age": 40},
        {"seeks_max_km": 10.0},
        {"incarnation": 2},
        {"location": "a"},
        {"bio": "a"},
        {"interests": ("a",)},
    ],
)
def test_what_a_viewer_is_and_seeks_changes_the_digest(changes: dict[str, Any]) -> None:
    assert viewer_digest(person(1, **changes), Relations()) != viewer_digest(person(1), Relations())


def test_a_new_name_leaves_the_digest() -> None:
    assert viewer_digest(person(1, name="new"), Relations()) == viewer_digest(person(1), Relations())


def test_opinions_change_the_digest_while_they_are_few() -> None:
    def digest(n: int) -> int:
        return viewer_digest(person(1), Relations(liked=frozenset(range(2, n + 2))))

    assert len({digest(n) for n in range(SHORT_HISTORY + 1)}) == SHORT_HISTORY + 1
    assert digest(SHORT_HISTORY) == digest(SHORT_HISTORY + 1)


async def test_a_cancelled_leader_fails_nobody() -> None:
    flights, release = SingleFlight[str](), asyncio.Event()

    async def work() -> str:
        await release.wait()
        return "done"

    leader, follower = (asyncio.create_task(flights.run("k", work)) for _ in range(2))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    release.set()
    assert await follower == ("done", False)


async def test_a_flight_that_fails_fails_all_who_wait_and_nobody_after() -> None:
    flights = SingleFlight[int]()

    async def fail() -> int:
        await asyncio.sleep(0)
        return 1 // 0

    async def succeed() -> int:
        return 7

    failed = await asyncio.gather(*(flights.run("k", fail) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in failed] == [ZeroDivisionError] * 2
    assert await flights.run("k", succeed) == (7, True)


async def test_flights_of_different_keys_are_apart() -> None:
    flights = SingleFlight[int]()

    async def work() -> int:
        return 1

    assert [leads for _, leads in await asyncio.gather(flights.run("a", work), flights.run("b", work))] == [True, True]
