"""POST rank, GET why, and recommendations with reasons, on the whole application."""

from typing import Any

import httpx
import msgspec
import pytest

from service.controllers.keys import SCOPES
from service.domain import Profile
from service.settings import Settings
from tests.http.conftest import serving

USER = "/api/v1/recommendations/users/1"
EXPLAINED = f"{USER}/recommendations?algorithm_version=heuristic&explain=true"


async def rank(client: httpx.AsyncClient, body: Any, query: str = "") -> httpx.Response:
    return await client.post(f"{USER}/rank{query}", json=body)


async def act(client: httpx.AsyncClient, actor_id: int, target_id: int, kind: str) -> None:
    given = {"interactions": [{"actor_id": actor_id, "target_id": target_id, "kind": kind}]}
    assert (await client.post("/api/v1/interactions", json=given)).status_code == 201


async def test_reasons_are_true_of_the_people_they_are_given_for(client: httpx.AsyncClient) -> None:
    body = (await client.get(f"{EXPLAINED}&limit=59")).json()
    assert (body["explained"], body["degraded"], body["total_count"]) == (True, [], 59)
    near = {"Berlin": "lives 25 km away", "Potsdam": "lives less than 1 km away"}  # person 1 is in Potsdam
    for person in body["recommendations"]:
        assert len(person["reasons"]) <= 3
        said = [reason for reason in person["reasons"] if reason.startswith("lives")]
        assert said in ([], [near.get(person["location"])])
    assert any(person["reasons"] for person in body["recommendations"])


async def test_without_explain_the_reply_has_no_trace_of_it(client: httpx.AsyncClient) -> None:
    await client.get(EXPLAINED)
    for query in ("&explain=false", "", ""):
        answer = await client.get(f"{USER}/recommendations?algorithm_version=heuristic{query}")
        assert "reasons" not in answer.text
        assert "explained" not in answer.text


async def test_a_pool_is_shared_with_questions_without_reasons(client: httpx.AsyncClient) -> None:
    plain = EXPLAINED.removesuffix("&explain=true")
    answers = [(await client.get(url)).json() for url in (plain, EXPLAINED, plain, EXPLAINED)]
    assert [answer["cached"] for answer in answers] == [False, True, True, True]
    assert ["reasons" in answer["recommendations"][0] for answer in answers] == [False, True, False, True]


async def test_candidates_are_ranked_and_the_ineligible_listed(client: httpx.AsyncClient) -> None:
    await act(client, 3, 1, "block")
    answer = await rank(client, {"candidate_ids": [2, 1, 3, 999, 4, 2]}, "?algorithm_version=heuristic")
    body = answer.json()
    assert answer.status_code == 200
    assert {one["id"] for one in body["ranked"]} == {2, 4}
    assert body["ineligible"] == [
        {"id": 1, "reason": "self"}, {"id": 3, "reason": "not_available"}, {"id": 999, "reason": "unknown"}
    ]  # fmt: skip
    assert (body["total_count"], body["algorithm_version"], body["degraded"]) == (2, "heuristic", [])
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_a_ranking_agrees_with_the_scores_of_recommendations(client: httpx.AsyncClient) -> None:
    shown = (await client.get(f"{USER}/recommendations?algorithm_version=heuristic&limit=59")).json()["recommendations"]
    ids = [person["id"] for person in shown]
    body = (await rank(client, {"candidate_ids": sorted(ids)}, "?algorithm_version=heuristic")).json()
    by_id = {one["id"]: one["match_score"] for one in body["ranked"]}
    assert by_id == pytest.approx({person["id"]: person["match_score"] for person in shown}, abs=2e-4)


async def test_without_a_bundle_the_fallback_ranks_candidates_and_says_so(client: httpx.AsyncClient) -> None:
    body = (await rank(client, {"candidate_ids": [2]})).json()
    assert (body["algorithm_version"], body["degraded"][0]["reason"]) == ("heuristic", "missing_bundle")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "candidate_ids"),
        ({"candidate_ids": []}, "candidate_ids"),
        ({"candidate_ids": list(range(1, 1002))}, "candidate_ids"),
        ({"candidate_ids": [0]}, "candidate_ids[0]"),
        ({"candidate_ids": [2**63]}, None),
        ({"candidate_ids": ["2"]}, "candidate_ids[0]"),
        ({"candidate_ids": [2.5]}, "candidate_ids[0]"),
        ({"candidate_ids": 2}, "candidate_ids"),
        ({"candidate_ids": [2], "limit": 5}, "limit"),
        ([2], "body"),
    ],
)
async def test_bad_candidates_are_422_by_name(client: httpx.AsyncClient, body: Any, field: str | None) -> None:
    answer = await rank(client, body)
    assert (answer.status_code, answer.json()["error"]) == (422, "Validation failed")
    if field is not None:
        assert [problem["field"] for problem in answer.json()["detail"]] == [field]


@pytest.mark.parametrize("query", ["?limit=5", "?explain=true", "?algorithm_version=v99", "?algorithm_version="])
async def test_bad_parameters_of_a_ranking_are_422_by_name(client: httpx.AsyncClient, query: str) -> None:
    answer = await rank(client, {"candidate_ids": [2]}, query)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["field"] == query[1:].partition("=")[0]


async def test_a_ranking_for_nobody_is_404_and_one_of_a_thousand_is_answered(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{USER[:-1]}999/rank", json={"candidate_ids": [2]})).status_code == 404
    body = (await rank(client, {"candidate_ids": list(range(1, 1001))})).json()
    assert (body["total_count"], len(body["ineligible"])) == (59, 941)
    assert (await client.get(f"{USER}/rank")).status_code == 405


async def test_why_tells_of_somebody_shown_what_the_slate_does(client: httpx.AsyncClient) -> None:
    first = (await client.get(EXPLAINED)).json()["recommendations"][0]
    why = (await client.get(f"{USER}/why/{first['id']}?algorithm_version=heuristic")).json()
    assert (why["left_at"], why["position"], why["rank"], why["cached"]) == (None, 1, 1, True)
    assert (why["match_score"], why["sources"], why["reasons"]) == (first["match_score"], first["sources"], first["reasons"])
    amounts = [abs(one["contribution"]) for one in why["contributions"]]
    assert amounts == sorted(amounts, reverse=True)


@pytest.mark.parametrize(
    ("acts", "query", "rule"),
    [
        ([(2, 1, "block")], "", "blocked"),
        ([(2, 1, "pass")], "", "passed_viewer"),
        ([(1, 2, "like")], "", "seen"),
        ([], "?exclude_ids=2", "excluded"),
        ([], "?max_km=1", "filter_distance"),
        ([(1, 2, "pass")], "?exclude_seen=false&limit=1", None),
    ],
)
async def test_why_names_the_rule_that_keeps_somebody_away(
    client: httpx.AsyncClient, acts: list[tuple[int, int, str]], query: str, rule: str | None
) -> None:
    for done in acts:
        await act(client, *done)
    why = (await client.get(f"{USER}/why/2{query}")).json()
    assert (why["left_at"] == "eligibility", why["rule"]) == (rule is not None, rule)


async def test_why_of_an_unknown_candidate_is_an_answer_and_of_an_unknown_viewer_404(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{USER}/why/999")).json()["left_at"] == "unknown"
    assert (await client.get("/api/v1/recommendations/users/999/why/1")).status_code == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [("why/x", "candidate_id"), ("why/0", "candidate_id"), ("why/2?explain=true", "explain"), ("why/2?limit=0", "limit")],
)
async def test_a_bad_question_why_is_422_by_name(client: httpx.AsyncClient, path: str, field: str) -> None:
    answer = await client.get(f"{USER}/{path}")
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, field)


@pytest.mark.parametrize("scope", SCOPES)
async def test_ranking_is_for_readers_and_why_for_admins(settings: Settings, people: list[Profile], scope: str) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    keyed = msgspec.structs.replace(settings, api_keys=f"one:{scope}:{digest}")
    async with serving(keyed) as client:
        client.headers["Authorization"] = "Bearer secret"
        statuses = ((await rank(client, {"candidate_ids": [2]})).status_code, (await client.get(f"{USER}/why/2")).status_code)
    assert statuses == {"read": (200, 403), "write": (403, 403), "admin": (403, 200)}[scope]
