"""POST interactions: all or none, repeats, withdrawals, matches."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.domain import Kind
from service.repositories.database import connect
from service.repositories.opinions import FAMILY
from service.settings import Settings


async def record(client: httpx.AsyncClient, *given: dict[str, Any]) -> httpx.Response:
    return await client.post("/api/v1/interactions", json={"interactions": given})


def act(actor_id: int, target_id: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"actor_id": actor_id, "target_id": target_id, "kind": kind, **more}


def in_minutes(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


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
    assert (await record(client, act(1, 2, "like", occurred_at=in_minutes(2)))).status_code == 201


@pytest.mark.parametrize("n", [0, 1001])
async def test_none_and_more_than_a_thousand_are_refused(client: httpx.AsyncClient, n: int) -> None:
    answer = await record(client, *[act(1, 2, "view")] * n)
    assert (answer.status_code, answer.json()["detail"][0]["field"]) == (422, "interactions")


async def test_a_thousand_are_recorded(client: httpx.AsyncClient) -> None:
    assert (await record(client, *[act(1, 2, "view")] * 1000)).json()["recorded"] == 1000


async def stood(url: str, actor_id: int, target_id: int, kind: str) -> None:
    """A row that bears a time from later than now, as clocks ahead of ours, or of the database before this one, may have left."""
    connection = await connect(url)
    family = FAMILY[Kind(kind)]
    at = datetime.now(UTC) + timedelta(minutes=4)
    query = "insert into interactions (actor_id, target_id, family, event_key, kind, occurred_at) values ($1, $2, $3, '', $4, $5)"
    await connection.execute(query, actor_id, target_id, family, kind, at)
    await connection.close()


async def standing(url: str, actor_id: int, target_id: int) -> list[str]:
    connection = await connect(url)
    query = "select kind from interactions where actor_id = $1 and target_id = $2 and family in (1, 2) order by family"
    kinds = [row[0] for row in await connection.fetch(query, actor_id, target_id)]
    await connection.close()
    return kinds


@pytest.mark.parametrize(("before", "now"), [("like", "pass"), ("pass", "like"), ("unblock", "block"), ("like", "unlike")])
async def test_what_is_done_now_applies_whatever_the_time_of_what_stands(
    client: httpx.AsyncClient, settings: Settings, before: str, now: str
) -> None:
    await stood(settings.database_url, 1, 2, before)
    assert (await record(client, act(1, 2, now))).json() == {"recorded": 1, "repeated": 0, "matches": []}
    assert await standing(settings.database_url, 1, 2) == [now]


async def test_a_block_hides_at_once_whatever_the_time_of_its_lifting(client: httpx.AsyncClient, settings: Settings) -> None:
    async def ineligible() -> list[int]:
        answer = await client.post("/api/v1/recommendations/users/2/rank", json={"candidate_ids": [1]})
        return [person["id"] for person in answer.json()["ineligible"]]

    await stood(settings.database_url, 1, 2, "unblock")
    assert await ineligible() == []
    await record(client, act(1, 2, "block"))
    assert await ineligible() == [1]


async def test_likes_said_now_match_whatever_the_time_of_a_lifted_block(client: httpx.AsyncClient, settings: Settings) -> None:
    await stood(settings.database_url, 1, 2, "unblock")
    answer = await record(client, act(1, 2, "like"), act(2, 1, "like"))
    assert answer.json() == {"recorded": 2, "repeated": 0, "matches": [[1, 2]]}


async def test_a_like_of_a_clock_ahead_does_not_outlast_what_is_done_next(client: httpx.AsyncClient, settings: Settings) -> None:
    await record(client, act(1, 2, "like", occurred_at=in_minutes(4)), act(2, 1, "like"))
    assert await matches(client, 1) == [2]
    await record(client, act(1, 2, "pass", occurred_at=in_minutes(0)))
    assert await standing(settings.database_url, 1, 2) == ["pass"]
    assert await matches(client, 1) == []


@pytest.mark.parametrize("hours", [-1, 1])
async def test_no_time_is_now_by_the_databases_clock(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Wrong":
            return cls.fromtimestamp(datetime.now(tz).timestamp() + 3600 * hours, tz)

    monkeypatch.setattr("service.controllers.interactions.datetime", Wrong)
    before = datetime.now(UTC)
    await record(client, act(1, 2, "like"), act(2, 1, "like"))
    (match,) = (await client.get("/api/v1/users/1/matches")).json()["matches"]
    assert before <= datetime.fromisoformat(match["matched_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("given", "stands"),
    [
        (["like", "pass"], "pass"),
        (["pass", "like"], "like"),
        (["like", ("pass", -60)], "like"),
        ([("like", 2), "pass"], "pass"),
        (["like", ("pass", 2)], "like"),
        ([("like", 3), ("pass", 2)], "like"),
    ],
)
async def test_in_one_batch_what_has_no_time_comes_last(
    client: httpx.AsyncClient, settings: Settings, given: list[Any], stands: str
) -> None:
    acts = [act(1, 2, it) if isinstance(it, str) else act(1, 2, it[0], occurred_at=in_minutes(it[1])) for it in given]
    assert (await record(client, *acts)).json()["recorded"] == 2
    assert await standing(settings.database_url, 1, 2) == [stands]


async def test_sending_again_what_has_no_time_is_repeated(client: httpx.AsyncClient) -> None:
    given = [act(1, 2, "like"), act(1, 3, "pass"), act(1, 4, "block"), act(1, 2, "message", event_id="m-1")]
    assert (await record(client, *given)).json() == {"recorded": 4, "repeated": 0, "matches": []}
    assert (await record(client, *given)).json() == {"recorded": 0, "repeated": 4, "matches": []}
