"""The pages of people, plug-ins and bundles on the whole application, as text; how they look is for tests/browser."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import msgspec
import pytest
from markupsafe import escape

from service.console.bundles import compared
from service.console.comparing import Column, overlap, places
from service.console.overview import concerns
from service.console.plugins import RankerRow, SourceRow
from service.controllers.shapes import Ready
from service.domain import BundleRecord, RecommendedPerson, Slate
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.repositories.migrate import upgrade
from service.settings import Settings
from tests.http.conftest import person, serving, store
from tests.servers import PrivatePostgres

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SHOWN = re.compile(r'<h4><a href="/console/people/(\d+)">')
ORIGIN = {"origin": "http://localhost"}


@pytest.fixture
async def pages(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.base_url = httpx.URL("http://localhost")
    return client


def shown(page: httpx.Response) -> list[int]:
    return [int(found) for found in SHOWN.findall(page.text)]


async def send(client: httpx.AsyncClient, path: str, of: str, **fields: str) -> httpx.Response:
    """The form for `path` that the page `of` has, filled in and sent, and where it leads."""
    page = await client.get(of)
    form = re.search(rf'<form[^>]* method="post" action="{path}">.*?</form>', page.text, re.DOTALL)
    assert form, page.text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[0]))
    return await client.post(path, data=hidden | fields, headers=ORIGIN, follow_redirects=True)


async def test_people_are_found_by_id_and_by_how_a_word_of_the_name_begins(pages: httpx.AsyncClient, database_url: str) -> None:
    await store(
        database_url, [person(101, name="Ada 100%_x Lovelace"), person(102, name="Lovisa Ada"), person(103, name="Canada")]
    )
    assert (await pages.get("/console/people?q=101")).headers["location"] == "/console/people/101"
    page = await pages.get("/console/people?q=aDa")
    assert re.findall(r'href="/console/people/(\d+)"', page.text) == ["101", "102"]
    for text in ("ada 100%25_", "lov", "Ada%20100"):
        assert "people/101" in (await pages.get(f"/console/people?q={text}")).text
    for text in ("%25", "_", "9999", "nobody%20here", "9" * 400, "1_0"):
        page = await pages.get(f"/console/people?q={text}")
        assert page.status_code == 200
        assert "Nobody has the id" in page.text, text


async def test_texts_of_people_are_no_markup(pages: httpx.AsyncClient, database_url: str) -> None:
    nasty = '<script>alert("x")</script>\'"&'
    await store(database_url, [person(101, name=nasty, bio=nasty, location=nasty, interests=(nasty,), gender=nasty)])
    for path in ("/console/people?q=101", "/console/people/101", "/console/people/1/why/101", f"/console/people?q={nasty}"):
        page = await pages.get(path, follow_redirects=True)
        assert "alert(" in page.text
        assert "<script>" not in page.text, path
        assert str(escape(nasty)) in page.text


async def test_slates_are_those_of_the_interface_side_by_side(pages: httpx.AsyncClient) -> None:
    asked = "/api/v1/recommendations/users/1/recommendations?limit=6&algorithm_version=heuristic"
    interface = [one["id"] for one in (await pages.get(asked)).json()["recommendations"]]
    page = await pages.get("/console/people/1?a=heuristic&b=v1&limit=6")
    assert shown(page)[:6] == interface
    assert len(shown(page)) == 12
    assert "ranking: missing bundle; heuristic stepped in" in page.text
    assert "6 of 6 people are in both slates" in page.text


async def test_looking_leaves_no_impression_and_no_pool(pages: httpx.AsyncClient, database_url: str) -> None:
    for path in ("/console/people/1", "/console/people/1?a=heuristic&b=v1&afresh=true", "/console/people/1/why/2"):
        assert (await pages.get(path)).status_code == 200
    answer = (await pages.get("/api/v1/recommendations/users/1/recommendations")).json()
    assert answer["cached"] is False
    await pages.get("/console/people/1")
    assert await impressions(database_url) == [answer["slate_id"]]


async def impressions(database_url: str) -> list[str]:
    """The slates that were written, once there are any: they are in the order in which they were shown."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        for _ in range(200):
            if rows := await connection.fetch("select slate_id from impressions"):
                return [str(row[0]) for row in rows]
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    raise AssertionError("never written")


async def test_short_slates_say_why_and_the_seen_return_when_asked_for(pages: httpx.AsyncClient) -> None:
    acts = [{"actor_id": 1, "target_id": i, "kind": "like"} for i in range(2, 60)]
    assert (await pages.post("/api/v1/interactions", json={"interactions": acts})).status_code == 201
    page = await pages.get("/console/people/1")
    assert shown(page) == [60]
    assert "was already seen" in page.text
    assert len(shown(await pages.get("/console/people/1?with_seen=true&limit=50"))) == 50


async def test_why_tells_the_stage_the_rule_and_what_the_score_is_made_of(pages: httpx.AsyncClient) -> None:
    asked = await pages.get("/console/people/1/why?candidate=2&a=heuristic")
    page = await pages.get(asked.headers["location"])
    assert "What the score is made of" in page.text
    itself = await pages.get("/console/people/1/why/1")
    assert "Not eligible: it is the viewer" in itself.text
    assert '<li class="left">' in itself.text
    assert (await pages.get("/console/people/1/why?candidate=somebody")).status_code == 422
    assert "There is nobody of this id" in (await pages.get("/console/people/1/why/999")).text


async def test_what_cannot_be_shown_is_said_on_a_page(pages: httpx.AsyncClient) -> None:
    refused = {
        "/console/people/999": 404,
        "/console/people/x": 422,
        "/console/people/1?limit=0": 422,
        "/console/people/1?colour=red": 422,
        "/console/people/999/why/1": 404,
        "/console/bundles/none/promote": 404,
        "/console/bundles/rollback": 409,
    }
    for path, status in refused.items():
        page = await pages.get(path)
        assert (page.status_code, page.text.count("<h1>")) == (status, 1), path
        assert page.headers["content-type"].startswith("text/html")


async def test_an_unknown_ranker_spoils_its_own_column_alone(pages: httpx.AsyncClient) -> None:
    page = await pages.get("/console/people/1?a=heuristic&b=nope&limit=6")
    assert len(shown(page)) == 6
    assert "no ranker named" in page.text


async def test_pools_are_dropped_for_one_and_for_all(pages: httpx.AsyncClient) -> None:
    asked = "/api/v1/recommendations/users/1/recommendations?algorithm_version=heuristic"
    forms = {"/console/people/1/refresh": "/console/people/1", "/console/bundles/refresh": "/console/bundles/refresh"}
    for path, of in forms.items():
        assert (await pages.get(asked)).json()["cached"] is False
        assert (await pages.get(asked)).json()["cached"] is True
        page = await send(pages, path, of)
        assert '<p class="said" role="status">The' in page.text
        assert "said" not in (await pages.get(str(page.url))).text


async def test_plug_ins_are_listed_with_what_is_wrong_with_them(pages: httpx.AsyncClient) -> None:
    page = (await pages.get("/console/plug-ins")).text
    for name in ("heuristic", "v1", "mutual taste", "newcomers"):
        assert f'<th scope="row">{name}' in page
    assert "no bundle is live" in page
    assert "fallback" in page


async def test_a_bundle_that_cannot_be_served_is_not_promoted(pages: httpx.AsyncClient, database_url: str) -> None:
    await register(database_url, "20261101T000000-aaaa")
    path = "/console/bundles/20261101T000000-aaaa/promote"
    page = await send(pages, path, path)
    assert page.status_code == 409
    assert "Nothing was changed: bundle 20261101T000000-aaaa" in page.text
    assert 'badge ok">live' not in (await pages.get("/console/bundles")).text


async def test_a_pointer_that_moved_meanwhile_is_left_alone(pages: httpx.AsyncClient, database_url: str) -> None:
    await register(database_url, "20261101T000000-aaaa")
    path = "/console/bundles/20261101T000000-aaaa/promote"
    page = await send(pages, path, path, live="20261001T000000-bbbb")
    assert page.status_code == 409
    assert "another bundle went live" in page.text


async def test_people_are_shown_from_memory_while_the_database_is_away(
    settings: Settings, private_postgres: PrivatePostgres
) -> None:
    await upgrade(private_postgres.url)
    await store(private_postgres.url, [person(i) for i in range(1, 31)])
    on_its_own = msgspec.structs.replace(settings, database_url=private_postgres.url, database_timeout_ms=300)
    async with serving(on_its_own) as client:
        client.base_url = httpx.URL("http://localhost")
        private_postgres.kill()
        page = await client.get("/console/people/1?a=heuristic")
        assert "This is what the replica remembers" in page.text
        assert len(shown(page)) == 12
        assert "viewer: unavailable" in page.text
        assert (await client.get("/console/people/1/why/2?a=heuristic")).status_code == 200
        assert "PostgreSQL does not answer" in (await client.get("/console")).text
        bundles = await client.get("/console/bundles")
        assert (bundles.status_code, bundles.headers["retry-after"], "<h1>Not now</h1>" in bundles.text) == (503, "2", True)


def record(version: str, **metrics: float) -> BundleRecord:
    return BundleRecord(version=version, created_at=NOW, metrics=metrics)


def test_a_metric_is_better_by_what_it_measures() -> None:
    found = compared(
        record("b", ndcg20=0.5, log_loss=0.4, auc=0.9), record("a", ndcg20=0.4, log_loss=0.3, recall100=0.7, auc=0.9)
    )
    assert {one.label: one.better for one in found} == {"NDCG@20": True, "Recall@100": None, "AUC": None, "Log-loss": False}


def test_two_slates_are_compared_by_position() -> None:
    one, other = slate(1, 2, 3), slate(2, 1, 3, 4)
    assert [(place.other, place.moved) for place in places(one, other)] == [(2, 1), (1, -1), (3, 0)]
    assert [place.other for place in places(other, None)] == [None] * 4
    both = overlap([Column(asked="a", slate=one), Column(asked="b", slate=other)])
    assert both is not None
    assert (both.shared, both.in_place, both.of) == (3, 1, 3)
    assert overlap([Column(asked="a", slate=one), Column(asked="b", problem="no")]) is None


def slate(*ids: int) -> Slate:
    people = tuple(
        RecommendedPerson(
            id=i, name=str(i), age=None, gender=None, location=None, bio="", interests=(), match_score=0.5, slot="ranked",
            sources=(), created_at=NOW, last_active_at=None,
        )
        for i in ids
    )  # fmt: skip
    return msgspec.convert(
        {
            "recommendations": people, "total_count": len(ids), "algorithm_version": "a", "bundle_version": None,
            "experiment": None, "ordering": "score", "generation_time_ms": 1.0, "cached": False, "degraded": (),
            "message": None, "slate_id": "00000000-0000-0000-0000-000000000000", "request_id": "",
        },
        Slate,
        from_attributes=True,
    )  # fmt: skip


def ranker(breaker: str = "closed", explain: str | None = "closed", problem: str | None = None) -> RankerRow:
    return RankerRow(
        name="v1", version="1", distribution="d", roles=(), needs_bundle=True, inline=True, problem=problem, breaker=breaker,
        explain_breaker=explain,
    )  # fmt: skip


def source(breaker: str = "closed") -> SourceRow:
    return SourceRow(name="explore", version="1", distribution="d", breaker=breaker)


def ready(*degraded: str, bundle: str | None = "a") -> Ready:
    return Ready(status="ready", degraded=degraded, bundle_version=bundle, people=1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((ready(), record("a"), [ranker()], [source()]), []),
        ((ready(), None, [ranker()], [source()]), []),
        ((ready("redis"), record("a"), [ranker()], [source()]), ["bad Redis does not answer"]),
        (
            (ready(), record("a"), [ranker("open")], [source("half_open")]),
            ["bad The ranker v1", "warn The source explore"],
        ),
        ((ready(), record("a"), [ranker(explain="open")], []), ["bad The reasons of v1"]),
        ((ready(bundle=None), None, [ranker(problem="no bundle")], []), ["warn No bundle serves"]),
        ((ready(), record("b"), [ranker(problem="x")], []), ["warn b is live, and this", "warn The ranker v1 is not loaded"]),
    ],
)
def test_the_overview_names_what_needs_a_look(
    given: tuple[Ready, BundleRecord | None, list[RankerRow], list[SourceRow]], said: list[str]
) -> None:
    found = concerns(*given, now=NOW + timedelta(days=1))
    assert len(found) == len(said)
    assert all(f"{one.level} {one.message}".startswith(expected) for one, expected in zip(found, said, strict=True))


def test_an_old_bundle_needs_a_look() -> None:
    (found,) = concerns(ready(), record("a"), [], [], now=NOW + timedelta(days=8))
    assert "more than a week old" in found.message


async def register(database_url: str, version: str) -> None:
    database = Database(database_url)
    try:
        await Bundles(database.sessions).register(version, NOW, {"ndcg20": 0.5})
    finally:
        await database.close()
