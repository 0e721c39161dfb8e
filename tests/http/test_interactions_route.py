"""POST interactions: all or none, repeats, withdrawals, matches."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest


async def record(client: httpx.AsyncClient, *given: dict[str, Any]) -> httpx.Response:
    return await client.post("/api/v1/interactions", json={"interactions": given})


def act(actor_id: int, target_id: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"actor_id": actor_id, "target_id": target_id, "kind": kind, **more}


async def matches(client: httpx.AsyncClient, user_id: int) -> list[int]:
    return [match["user_id"] for match in (await client.get(f"/api/v1/users/{user_id}/matches")).json()["matches"]]


async def test_a_mutual_like_is_a_match(client: httpx.AsyncClient) -> None:
    first = await record(client, act(1, 2, "like"))
    assert (first.status_code, first.json()) == (201, {"recorded": 1, "repeated": 0, "matches": []})
    second = await record(client, act(2, 1, "like", slate_id=str(uuid4())))
    assert second.json() == {"recorded": 1, "repeated": 0, "matches": [[1, 2]]}
    assert (await matches(client, 1), await matches(client, 2)) == ([2], [1])


async def test_a_repeated_like_is_no_second_event_but_a_message_is(client: httpx.AsyncClient) -> None:
    answer = await record(client, act(1, 2, "like"), act(1, 2, "like"), act(1, 2, "message"), act(1, 2, "message"))
    assert answer.json() == {"recorded": 3, "repeated": 1, "matches": []}


async def test_a_message_of_the_same_event_id_is_repeated(client: httpx.AsyncClient) -> None:
    await record(client, act(1, 2, "message", event_id="m-1"))
    assert (await record(client, act(1, 2, "message", event_id="m-1"))).json()["repeated"] == 1


@pytest.mark.parametrize("ending", [act(1, 2, "unlike"), act(2, 1, "pass"), act(1, 2, "block"), act(2, 1, "unmatch")])
async def test_a_match_ends_when_it_is_withdrawn(client: httpx.AsyncClient, ending: dict[str, Any]) -> None:
    await record(client, act(1, 2, "like"), act(2, 1, "like"))
    assert (await record(client, ending)).json()["recorded"] == 1
    assert await matches(client, 1) == []


@pytest.mark.parametrize("kind", ["unlike", "unpass", "unblock", "unmatch"])
async def test_withdrawing_what_does_not_stand_is_repeated(client: httpx.AsyncClient, kind: str) -> None:
    assert (await record(client, act(1, 2, kind))).json() == {"recorded": 0, "repeated": 1, "matches": []}


async def test_an_earlier_event_does_not_undo_a_later_one(client: httpx.AsyncClient) -> None:
    await record(client, act(1, 2, "like"), act(2, 1, "like"))
    await record(client, act(1, 2, "pass", occurred_at="2020-01-01T00:00:00Z"))
    assert await matches(client, 1) == [2]


async def test_one_unknown_person_refuses_all_and_names_the_row(client: httpx.AsyncClient) -> None:
    answer = await record(client, act(1, 2, "like"), act(2, 1, "like"), act(1, 999, "like"))
    assert answer.status_code == 422
    assert answer.json()["detail"] == [{"field": "interactions[2].target_id", "message": "no user with id 999"}]
    assert await matches(client, 1) == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (act(1, 1, "like"), "target_id"),
        (act(1, 2, "poke"), "kind"),
        (act(1, 2, "like", mood="good"), "mood"),
        (act(1, 2, "like", occurred_at="2024-01-01T00:00:00"), "occurred_at"),
        (act(1, 2, "like", occurred_at="1969-12-31T23:59:59Z"), "occurred_at"),
        (act(1, 2, "like", occurred_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()), "occurred_at"),
        (act(1, 2, "like", slate_id="7"), "slate_id"),
        (act(1, 2, "message", event_id=""), "event_id"),
        (act(1, 2, "message", event_id="a\0b"), "event_id"),
        (act(0, 2, "like"), "actor_id"),
        (act(True, 2, "like"), "actor_id"),
        (act(2**63, 2, "like"), "actor_id"),
        ({"actor_id": 1, "kind": "like"}, "target_id"),
    ],
)
async def test_a_bad_record_is_refused_by_field(client: httpx.AsyncClient, given: dict[str, Any], field: str) -> None:
    answer = await record(client, act(1, 2, "view"), given)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["detail"]] == [f"interactions[1].{field}"]


async def test_a_clock_a_little_ahead_is_borne(client: httpx.AsyncClient) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    assert (await record(client, act(1, 2, "like", occurred_at=soon))).status_code == 201


@pytest.mark.parametrize("n", [0, 1001])
async def test_none_and_more_than_a_thousand_are_refused(client: httpx.AsyncClient, n: int) -> None:
    answer = await record(client, *[act(1, 2, "view")] * n)
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, "interactions")


async def test_a_thousand_are_recorded(client: httpx.AsyncClient) -> None:
    assert (await record(client, *[act(1, 2, "view")] * 1000)).json()["recorded"] == 1000
