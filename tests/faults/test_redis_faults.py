"""Redis killed, hung, flushed and back: it costs speed, and never an answer or a rule."""

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.replicas import Replica, replicas, shown
from tests.servers import PrivateValkey

BACK_S = 60.0
HEARD_S = 5.0
"""The bound is a second; the rest is for a machine that is busy with other tests."""
Fault = Callable[[PrivateValkey], None]


def flush(valkey: PrivateValkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()


def fill_with_rubbish(valkey: PrivateValkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        for key in client.scan_iter("amity:*"):
            client.set(key, b"\xff\x00 amity-pool \x01 rubbish")


def evict(valkey: PrivateValkey) -> None:
    """No room for anything: every write is refused, every read answered."""
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory", "1")


def restore(valkey: PrivateValkey) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory", "0")


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "killed": (lambda valkey: valkey.kill(), lambda valkey: valkey.start()),
    "hung": (lambda valkey: valkey.pause(), lambda valkey: valkey.resume()),
    "flushed": (flush, lambda _: None),
    "full of rubbish": (fill_with_rubbish, lambda _: None),
    "full": (evict, restore),
}


@pytest.fixture(scope="module")
def valkey(world: World) -> Iterator[PrivateValkey]:
    with PrivateValkey() as own:
        yield own


@pytest.fixture(scope="module")
def on_own_valkey(
    world: World, valkey: PrivateValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    settings = world.changed(REDIS_URL=valkey.url, REDIS_TIMEOUT_MS="250")
    with replicas(settings, tmp_path_factory.mktemp("redis")) as (one, other):
        yield one, other
        assert one.metric("amity_unexpected_errors_total") + other.metric("amity_unexpected_errors_total") == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_redis_away_bends_neither_answers_nor_rules(
    on_own_valkey: tuple[Replica, Replica], valkey: PrivateValkey, fault: str
) -> None:
    writer, reader = on_own_valkey
    first = 1 + 20 * list(FAULTS).index(fault)
    viewers = range(first, first + 6)
    pools = {viewer: shown(reader.recommend(viewer)) for viewer in viewers}
    strike, undo = FAULTS[fault]
    strike(valkey)
    try:
        for viewer in viewers:
            passed, blocking, paused = pools[viewer][:3]
            writer.act((viewer, passed, "pass"), (blocking, viewer, "block"))
            writer.patch(paused, status="paused")
            for replica in on_own_valkey:
                answer = replica.recommend(viewer)
                assert not {passed, blocking} & set(shown(answer))
                assert (answer["total_count"], answer["degraded"]) == (20, [])
                # News of profiles, and without it the feed, may take their time: 20 ms, and a second.
                assert eventually(lambda: paused not in shown(replica.recommend(viewer)), HEARD_S)  # noqa: B023 - called at once
    finally:
        undo(valkey)
    for viewer in viewers:
        assert eventually(lambda viewer=viewer: reader.recommend(viewer)["cached"], BACK_S)  # type: ignore[misc]
        assert not set(pools[viewer][:3]) & set(shown(writer.recommend(viewer)))


def test_what_redis_missed_while_it_was_away_hides_nobody_after_it(
    on_own_valkey: tuple[Replica, Replica], valkey: PrivateValkey
) -> None:
    writer, reader = on_own_valkey
    viewer = 150
    blocked = shown(reader.recommend(viewer))[0]
    writer.act((viewer, blocked, "block"))
    assert blocked not in shown(reader.recommend(viewer, limit=100))
    valkey.pause()
    try:
        writer.act((viewer, blocked, "unblock"))
    finally:
        valkey.resume()
    assert eventually(lambda: blocked in shown(reader.recommend(viewer, limit=100)), BACK_S)


def test_a_refresh_that_redis_did_not_take_is_not_reported_as_done(
    on_own_valkey: tuple[Replica, Replica], valkey: PrivateValkey
) -> None:
    valkey.pause()
    try:
        refused = on_own_valkey[0].client.post("/api/v1/recommendations/refresh", json={"user_ids": [1]})
    finally:
        valkey.resume()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
