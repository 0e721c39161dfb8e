"""GET recommendations, similar and performance, and POST refresh, on the whole application."""

from typing import Any
from uuid import UUID

import httpx
import pytest
import redis

from service.fleet import keys, tokens

PREFIX = "/api/v1/recommendations"
URL = f"{PREFIX}/users/1/recommendations"


async def shown(client: httpx.AsyncClient, query: str = "limit=100", viewer_id: int = 1) -> list[dict[str, Any]]:
    answer = await client.get(f"{PREFIX}/users/{viewer_id}/recommendations?{query}")
    assert answer.status_code == 200, answer.text
    people: list[dict[str, Any]] = answer.json()["recommendations"]
    return people


async def act(client: httpx.AsyncClient, actor_id: int, target_id: int, kind: str) -> None:
    given = {"interactions": [{"actor_id": actor_id, "target_id": target_id, "kind": kind}]}
    assert (await client.post("/api/v1/interactions", json=given)).status_code == 201


async def test_an_answer_has_every_field_of_the_interface(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL, headers={"X-Request-ID": "mine-1"})
    body = answer.json()
    assert list(body) == [
        "recommendations", "total_count", "algorithm_version", "bundle_version", "experiment", "ordering",
        "generation_time_ms", "cached", "degraded", "message", "slate_id", "request_id",
    ]  # fmt: skip
    assert list(body["recommendations"][0]) == [
        "id", "name", "age", "gender", "location", "bio", "interests", "match_score", "slot", "sources", "created_at",
        "last_active_at",
    ]  # fmt: skip
    assert (body["total_count"], len(body["recommendations"]), body["experiment"], body["ordering"]) == (20, 20, None, "score")
    assert (body["request_id"], answer.headers["x-request-id"]) == ("mine-1", "mine-1")
    assert UUID(body["slate_id"])


async def test_every_person_is_somebody_else_with_a_probability_and_a_source(client: httpx.AsyncClient) -> None:
    people = await shown(client)
    assert len(people) == 59
    assert len({person["id"] for person in people} - {1}) == 59
    assert all(0 <= person["match_score"] <= 1 and person["sources"] for person in people)


async def test_stages_are_told_in_server_timing(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL)
    names = {part.partition(";")[0] for part in answer.headers["server-timing"].split(", ")}
    assert {"retrieval", "ranking", "profiles", "total"} <= names


async def test_a_second_question_is_answered_from_the_pool_unless_told_not_to(client: httpx.AsyncClient) -> None:
    named = f"{URL}?algorithm_version=heuristic"  # the default has no bundle here, and a degraded pool is not kept
    cached = [(await client.get(named + more)).json()["cached"] for more in ("", "&limit=5", "&use_cache=false")]
    assert cached == [False, True, False]


async def test_somebody_new_does_not_inherit_an_erased_persons_place_in_a_pool(client: httpx.AsyncClient) -> None:
    named = f"{URL}?algorithm_version=heuristic&limit=5"
    first = (await client.get(named)).json()["recommendations"][0]["id"]
    assert (await client.delete(f"/api/v1/users/{first}")).status_code == 204
    assert (await client.put(f"/api/v1/users/{first}", json={"name": "Somebody New"})).status_code == 201
    after = (await client.get(named)).json()
    assert after["cached"] is True
    assert first not in [person["id"] for person in after["recommendations"]]


@pytest.mark.parametrize("for_whom", [{"user_ids": [1]}, {"all": True}])
async def test_a_refresh_drops_the_pool(client: httpx.AsyncClient, for_whom: dict[str, Any]) -> None:
    named = f"{URL}?algorithm_version=heuristic"
    await client.get(named)
    assert (await client.get(named)).json()["cached"] is True
    answer = await client.post(f"{PREFIX}/refresh", json=for_whom)
    assert (answer.status_code, answer.json()["refreshed"]) == (200, 60 if "all" in for_whom else 1)
    assert (await client.get(named)).json()["cached"] is False


@pytest.mark.parametrize("body", [{}, {"all": False}, {"user_ids": [1], "all": True}, {"user_ids": []}, {"user_ids": [0]}])
async def test_a_refresh_of_nobody_or_of_two_kinds_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post(f"{PREFIX}/refresh", json=body)).status_code == 422


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("min_age=30&max_age=35", lambda person: 30 <= person["age"] <= 35),
        ("gender=FEMALE", lambda person: person["gender"] == "female"),
        ("location=berlin&location=Lisbon", lambda person: person["location"] in ("Berlin", "Lisbon")),
        ("interests=hobby+2", lambda person: "hobby 2" in person["interests"]),
        ("max_km=50", lambda person: person["location"] in ("Berlin", "Potsdam")),
        ("exclude_ids=2&exclude_ids=3", lambda person: person["id"] not in (2, 3)),
    ],
)
async def test_filters_let_through_all_whom_they_should_and_nobody_else(
    client: httpx.AsyncClient, query: str, holds: Any
) -> None:
    everyone = await shown(client)
    expected = {person["id"] for person in everyone if holds(person)}
    assert {person["id"] for person in await shown(client, f"limit=100&{query}")} == expected
    assert 0 < len(expected) < 59


async def test_distance_needs_the_viewers_place(client: httpx.AsyncClient) -> None:
    await client.patch("/api/v1/users/1", json={"latitude": None, "longitude": None})
    answer = await client.get(f"{URL}?max_km=10")
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, "max_km")


async def test_an_unknown_ranker_is_refused_with_the_names_of_those_there_are(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{URL}?algorithm_version=v99")
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, "algorithm_version")
    assert "heuristic" in answer.json()["detail"][0]["message"]


async def test_a_named_ranker_ranks(client: httpx.AsyncClient) -> None:
    body = (await client.get(f"{URL}?algorithm_version=heuristic")).json()
    assert (body["algorithm_version"], body["degraded"]) == ("heuristic", [])


async def test_without_a_bundle_the_fallback_ranks_and_says_so(client: httpx.AsyncClient) -> None:
    body = (await client.get(URL)).json()
    assert (body["algorithm_version"], body["bundle_version"]) == ("heuristic", None)
    assert [(bent["stage"], bent["fallback"]) for bent in body["degraded"]] == [("ranking", "heuristic")]


@pytest.mark.parametrize(
    "query", ["explain=maybe", "offset=5", "limit=0", "limit=101", "min_age=17", "max_km=0", "limit=5&limit=6"]
)
async def test_a_bad_parameter_is_422_by_name(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{URL}?{query}")
    assert (answer.status_code, answer.json()["error"]) == (422, "Validation failed")
    assert [problem["field"] for problem in answer.json()["detail"]] == [query.partition("=")[0]]


@pytest.mark.parametrize("path", ["users/999/recommendations", "users/999/similar"])
async def test_an_unknown_viewer_is_404(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"{PREFIX}/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (404, "no user with id 999")


@pytest.mark.parametrize(
    ("actor_id", "target_id", "kind"), [(1, 2, "like"), (1, 2, "pass"), (2, 1, "pass"), (1, 2, "block"), (2, 1, "block")]
)
async def test_who_may_no_longer_be_shown_is_gone_from_the_next_answer(
    client: httpx.AsyncClient, actor_id: int, target_id: int, kind: str
) -> None:
    assert 2 in {person["id"] for person in await shown(client)}
    await act(client, actor_id, target_id, kind)
    assert 2 not in {person["id"] for person in await shown(client)}


@pytest.mark.parametrize(("kind", "withdrawal"), [("like", "unlike"), ("pass", "unpass"), ("block", "unblock")])
async def test_who_may_be_shown_again_is_back_in_the_next_answer(client: httpx.AsyncClient, kind: str, withdrawal: str) -> None:
    await act(client, 1, 2, kind)
    assert 2 not in {person["id"] for person in await shown(client)}
    await act(client, 1, 2, withdrawal)
    assert 2 in {person["id"] for person in await shown(client)}


async def test_who_likes_after_a_pass_is_back_in_the_next_answer_of_the_other(client: httpx.AsyncClient) -> None:
    await act(client, 2, 1, "pass")
    assert 2 not in {person["id"] for person in await shown(client)}
    await act(client, 2, 1, "like")
    assert 2 in {person["id"] for person in await shown(client)}


async def test_who_was_seen_is_shown_when_asked_for_but_who_is_blocked_never(client: httpx.AsyncClient) -> None:
    await act(client, 1, 2, "like")
    await act(client, 1, 3, "block")
    ids = {person["id"] for person in await shown(client, "limit=100&exclude_seen=false")}
    assert 2 in ids
    assert 3 not in ids


@pytest.mark.parametrize(
    "change", [{"status": "paused"}, {"status": "banned"}, {"seeks_min_age": 100}, {"seeks_genders": ["nobody"]}]
)
async def test_a_changed_person_is_gone_from_the_next_answer(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    assert 2 in {person["id"] for person in await shown(client)}
    assert (await client.patch("/api/v1/users/2", json=change)).status_code == 200
    assert 2 not in {person["id"] for person in await shown(client)}


async def test_an_erased_person_is_gone_and_unknown(client: httpx.AsyncClient) -> None:
    assert 2 in {person["id"] for person in await shown(client)}
    assert (await client.delete("/api/v1/users/2")).status_code == 204
    assert 2 not in {person["id"] for person in await shown(client)}
    assert (await client.get(f"{PREFIX}/users/2/recommendations")).status_code == 404


async def test_a_changed_bio_shows_at_once(client: httpx.AsyncClient) -> None:
    await shown(client)
    await client.patch("/api/v1/users/2", json={"bio": "New here"})
    assert {person["id"]: person["bio"] for person in await shown(client)}[2] == "New here"


async def test_a_short_list_says_why(client: httpx.AsyncClient) -> None:
    body = (await client.get(f"{URL}?limit=100&interests=hobby+2")).json()
    assert 0 < body["total_count"] < 100
    assert "filters" in body["message"]


async def test_similar_people_are_others_with_a_similarity(client: httpx.AsyncClient) -> None:
    await act(client, 2, 1, "block")
    body = (await client.get(f"{PREFIX}/users/1/similar?limit=100")).json()
    assert list(body) == ["similar", "total_count", "bundle_version", "request_id"]
    assert body["total_count"] == len(body["similar"])
    assert not {1, 2} & {person["id"] for person in body["similar"]}
    assert all(0 <= person["similarity"] <= 1 for person in body["similar"])


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "min_age=20"])
async def test_similar_takes_only_its_limit(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{PREFIX}/users/1/similar?{query}")).status_code == 422


@pytest.mark.parametrize("scope", ["fleet", "replica"])
async def test_performance_of_an_empty_window_is_zero_and_null(client: httpx.AsyncClient, scope: str) -> None:
    body = (await client.get(f"{PREFIX}/performance?scope={scope}&window_s=60")).json()
    assert (body["scope"], body["replicas"], body["window_s"]) == (scope, 0, 60)
    assert (body["requests"], body["errors"], body["avg_generation_time_ms"], body["cache_hit_rate"]) == (0, 0, None, None)
    assert (body["by_algorithm_version"], body["stages"]) == ({}, {})


async def test_performance_counts_what_was_answered(client: httpx.AsyncClient) -> None:
    for _ in range(4):
        await client.get(f"{URL}?algorithm_version=heuristic")
    body, own = [(await client.get(f"{PREFIX}/performance{scope}")).json() for scope in ("", "?scope=replica")]
    assert (body["scope"], own["scope"], body | {"scope": "replica"}) == ("fleet", "replica", own)
    assert (body["requests"], body["degraded"], body["cache_hit_rate"], body["replicas"]) == (4, 0, 0.75, 1)
    assert body["by_algorithm_version"]["heuristic"]["requests"] == 4
    assert body["stages"]["ranking"]["p95_ms"] > 0


@pytest.mark.parametrize(
    ("query", "field"),
    [("scope=cluster", "scope"), ("scope=", "scope"), ("window_s=0", "window_s"), ("window_s=3601", "window_s")],
)
async def test_performance_refuses_what_it_does_not_offer(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"{PREFIX}/performance?{query}")
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, field)


async def test_asking_for_nobody_leaves_nothing_lasting_in_redis(client: httpx.AsyncClient, redis_url: str) -> None:
    nobody = range(9001, 9021)
    for path in ("recommendations", "similar"):
        assert {(await client.get(f"/api/v1/recommendations/users/{one}/{path}")).status_code for one in nobody} == {404}
    assert (await client.get("/api/v1/recommendations/users/1/recommendations?algorithm_version=heuristic")).status_code == 200
    with redis.Redis.from_url(redis_url) as shared:
        lives_s = {one: shared.ttl(keys.version(one)) for one in (1, *nobody)}
    assert all(life_s <= tokens.NEW_S for one, life_s in lives_s.items() if one in nobody)
    assert lives_s[1] > tokens.NEW_S
