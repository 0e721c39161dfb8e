"""People and their matches over HTTP."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import asyncpg
import httpx
import pytest

URL = "/api/v1/users"
WHOLE = {
    "id": 500, "name": "Zoë 🌱", "age": 33, "gender": "female", "location": "Ávila", "latitude": 40.66, "longitude": -4.7,
    "bio": "Lìkes \u202e tea", "interests": ["tea", "été"], "seeks_genders": ["male"], "seeks_min_age": 30, "seeks_max_age": 40,
    "seeks_max_km": 12.5, "status": "paused", "created_at": "2024-01-15T10:30:00Z", "last_active_at": "2024-01-20T15:45:00Z",
}  # fmt: skip


def fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return sorted(problem["field"] for problem in answer.json()["detail"])


async def like(client: httpx.AsyncClient, *pairs: tuple[int, int]) -> None:
    given = [{"actor_id": actor, "target_id": target, "kind": "like"} for actor, target in pairs]
    assert (await client.post("/api/v1/interactions", json={"interactions": given})).status_code == 201


async def test_a_person_comes_back_as_stored(client: httpx.AsyncClient) -> None:
    answer = await client.put(f"{URL}/500", json=WHOLE)
    assert (answer.status_code, answer.json()) == (201, WHOLE)
    assert (await client.get(f"{URL}/500")).json() == WHOLE


async def test_storing_again_replaces_all_but_the_day_of_joining(client: httpx.AsyncClient) -> None:
    await client.put(f"{URL}/500", json=WHOLE)
    answer = await client.put(f"{URL}/500", json={"name": "Zoe"})
    assert answer.status_code == 200
    again = (await client.get(f"{URL}/500")).json()
    assert (again["name"], again["age"], again["interests"], again["status"]) == ("Zoe", None, [], "active")
    assert again["created_at"] == WHOLE["created_at"]


async def test_times_come_back_in_utc(client: httpx.AsyncClient) -> None:
    body = {"name": "Al", "created_at": "2024-01-15T10:30:00+02:00"}
    assert (await client.put(f"{URL}/500", json=body)).json()["created_at"] == "2024-01-15T08:30:00Z"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"latitude": 91.0}, "latitude"),
        ({"longitude": None}, "longitude"),
        ({"seeks_min_age": 41}, "seeks_min_age"),
        ({"age": 17}, "age"),
        ({"id": 501}, "id"),
        ({"name": "a\0b"}, "name"),
        ({"incarnation": 3}, "incarnation"),
        ({"created_at": "2999-01-01T00:00:00Z"}, "created_at"),
        ({"created_at": "0001-01-01T00:00:00+05:00"}, "created_at"),
        ({"last_active_at": "2024-01-20T15:45:00"}, "last_active_at"),
        ({"interests": ["x" * 101]}, "interests[0]"),
    ],
)
async def test_a_person_that_breaks_a_rule_is_refused_by_field(
    client: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    assert fields(await client.put(f"{URL}/500", json=WHOLE | change)) == [field]
    assert (await client.get(f"{URL}/500")).status_code == 404


async def test_a_change_keeps_what_it_does_not_name(client: httpx.AsyncClient) -> None:
    await client.put(f"{URL}/500", json=WHOLE)
    answer = await client.patch(f"{URL}/500", json={"age": None, "interests": ["chess"]})
    assert (answer.status_code, answer.json()) == (200, WHOLE | {"age": None, "interests": ["chess"]})
    assert (await client.get(f"{URL}/500")).json() == answer.json()


async def test_an_empty_change_changes_nothing(client: httpx.AsyncClient) -> None:
    await client.put(f"{URL}/500", json=WHOLE)
    assert (await client.patch(f"{URL}/500", json={})).json() == WHOLE


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"latitude": None}, "latitude"),
        ({"seeks_max_age": 29}, "seeks_min_age"),
        ({"name": None}, "name"),
        ({"created_at": "2024-01-01T00:00:00Z"}, "created_at"),
        ({"status": "gone"}, "status"),
    ],
)
async def test_a_change_is_checked_together_with_what_is_there(
    client: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    await client.put(f"{URL}/500", json=WHOLE)
    assert fields(await client.patch(f"{URL}/500", json=change)) == [field]
    assert (await client.get(f"{URL}/500")).json() == WHOLE


async def test_nobody_is_404_for_every_method(client: httpx.AsyncClient) -> None:
    calls = [
        client.get(f"{URL}/999"),
        client.patch(f"{URL}/999", json={}),
        client.delete(f"{URL}/999"),
        client.get(f"{URL}/999/matches"),
    ]
    assert [(await call).status_code for call in calls] == [404, 404, 404, 404]


async def test_an_erased_id_may_be_used_again_by_somebody_without_a_past(client: httpx.AsyncClient) -> None:
    await like(client, (1, 2), (2, 1))
    answer = await client.delete(f"{URL}/2")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.put(f"{URL}/2", json={"name": "Somebody new"})).status_code == 201
    assert (await client.get(f"{URL}/2/matches")).json()["matches"] == []
    assert (await client.get(f"{URL}/1/matches")).json()["matches"] == []


async def test_a_batch_counts_the_new_and_the_replaced(client: httpx.AsyncClient) -> None:
    batch = {"users": [{"id": 1, "name": "One"}, {"id": 700, "name": "New"}]}
    before = (await client.get(f"{URL}/1")).json()
    answer = await client.post(f"{URL}/batch", json=batch)
    assert (answer.status_code, answer.json()) == (201, {"created": 1, "replaced": 1})
    after = (await client.get(f"{URL}/1")).json()
    assert (after["name"], after["created_at"]) == ("One", before["created_at"])
    assert (await client.post(f"{URL}/batch", json=batch)).status_code == 200


@pytest.mark.parametrize(
    ("users", "field"),
    [
        ([{"id": 700, "name": "A"}, {"id": 701}], "users[1].name"),
        ([{"id": 700, "name": "A"}, {"id": 700, "name": "B"}], "users[1].id"),
        ([{"id": 700, "name": "A"}, {"id": 701, "name": "B", "latitude": 1}], "users[1].longitude"),
        ([{"name": "A"}], "users[0].id"),
        ([], "users"),
        ([{"id": i, "name": "A"} for i in range(700, 1701)], "users"),
    ],
)
async def test_a_batch_with_one_bad_record_stores_nobody(client: httpx.AsyncClient, users: list[Any], field: str) -> None:
    assert fields(await client.post(f"{URL}/batch", json={"users": users})) == [field]
    assert (await client.get(f"{URL}/700")).status_code == 404


async def test_a_thousand_people_are_stored_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{URL}/batch", json={"users": [{"id": i, "name": "A"} for i in range(700, 1700)]})
    assert answer.json() == {"created": 1000, "replaced": 0}


async def test_matches_are_paged_newest_first_without_loss(client: httpx.AsyncClient) -> None:
    for other in range(2, 9):
        await like(client, (1, other), (other, 1))
    pages, query = [], "limit=3"
    while query:
        body = (await client.get(f"{URL}/1/matches?{query}")).json()
        pages.append([match["user_id"] for match in body["matches"]])
        query = f"limit=3&cursor={body['next_cursor']}" if body["next_cursor"] else ""
    assert pages == [[8, 7, 6], [5, 4, 3], [2]]


@pytest.mark.parametrize("cursor", ["x", "%00", "AAAA", "é", "x" * 201, "gqd1c2VyX2lkAQ"])
async def test_a_cursor_that_is_not_ours_is_422(client: httpx.AsyncClient, cursor: str) -> None:
    assert fields(await client.get(f"{URL}/1/matches?cursor={cursor}")) == ["cursor"]


async def test_a_new_person_is_recommended_to_others(client: httpx.AsyncClient) -> None:
    await client.put(
        f"{URL}/500", json=WHOLE | {"status": "active", "seeks_genders": [], "seeks_max_km": None, "interests": ["rare"]}
    )
    for _ in range(200):  # until the feed has brought the news
        body = (await client.get("/api/v1/recommendations/users/11/recommendations?interests=rare&use_cache=false")).json()
        if body["total_count"]:
            break
    assert [person["id"] for person in body["recommendations"]] == [500]


WAITING = "select count(*) from pg_locks join pg_stat_activity using (pid) where not granted and datname = current_database()"


async def one_after_the_other(database_url: str, *writes: Coroutine[Any, Any, httpx.Response]) -> list[httpx.Response]:
    """Writes about person 1 that all began before any of them was done, in this order: somebody else is writing there."""
    other, watching, running = await asyncpg.connect(database_url), await asyncpg.connect(database_url), []
    async with other.transaction(), asyncio.timeout(30):
        await other.execute("select from users where id = 1 for update")
        for n_waiting, write in enumerate(writes, 1):
            running.append(asyncio.create_task(write))
            while await watching.fetchval(WAITING) < n_waiting:  # noqa: ASYNC110 - PostgreSQL is waited for
                await asyncio.sleep(0.01)
    await watching.close()
    await other.close()
    return await asyncio.gather(*running)


async def test_a_change_is_held_to_the_whole_that_it_makes_with_one_just_before(
    client: httpx.AsyncClient, database_url: str
) -> None:
    assert (await client.patch(f"{URL}/1", json={"seeks_min_age": 30, "seeks_max_age": 50})).status_code == 200
    changes = ({"seeks_min_age": 45}, {"seeks_max_age": 35})
    done, refused = await one_after_the_other(database_url, *(client.patch(f"{URL}/1", json=change) for change in changes))
    assert (done.status_code, fields(refused)) == (200, ["seeks_min_age"])
    after = (await client.get(f"{URL}/1")).json()
    assert (after["seeks_min_age"], after["seeks_max_age"]) == (45, 50)


async def test_a_day_of_joining_that_was_just_told_is_kept(client: httpx.AsyncClient, database_url: str) -> None:
    told = {"name": "One", "created_at": "2020-01-01T00:00:00Z"}
    bodies = (told, {"name": "Two"})
    answers = await one_after_the_other(database_url, *(client.put(f"{URL}/1", json=body) for body in bodies))
    assert [(answer.status_code, answer.json()["created_at"]) for answer in answers] == [(200, told["created_at"])] * 2
    after = (await client.get(f"{URL}/1")).json()
    assert (after["name"], after["created_at"]) == ("Two", told["created_at"])


@pytest.mark.parametrize("in_batch", [False, True])
async def test_somebody_new_has_nothing_of_whom_was_erased_just_before(
    client: httpx.AsyncClient, database_url: str, in_batch: bool
) -> None:
    before = (await client.get(f"{URL}/1")).json()
    new = client.put(f"{URL}/1", json={"name": "Somebody new"})
    if in_batch:
        new.close()
        new = client.post(f"{URL}/batch", json={"users": [{"id": 1, "name": "Somebody new"}]})
    answers = await one_after_the_other(database_url, client.delete(f"{URL}/1"), new)
    assert [answer.status_code for answer in answers] == [204, 201]
    assert (await client.get(f"{URL}/1")).json()["created_at"] > before["created_at"]
