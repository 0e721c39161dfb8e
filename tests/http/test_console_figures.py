"""The pages of performance, experiments and the market on the whole application, as text; how they look is for tests/browser."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from service.console import performance
from service.domain import Profile
from service.errors import Unavailable
from service.experiments import figures
from service.recommend.fleet_performance import FleetPerformance
from service.reporting.building import Reports
from service.settings import Settings
from tests.http.conftest import serving
from tests.http.test_console_pages import ORIGIN, send
from tests.http.test_experiment_report_route import reported, shown_to, written
from tests.http.test_experiments_routes import arm_of, created, patched

PAGE = "/console/experiments/trial"


@pytest.fixture
async def pages(settings: Settings, people: list[Profile]) -> AsyncIterator[httpx.AsyncClient]:
    changed = msgspec.structs.replace(settings, exploration_share=0.0, default_ranker="heuristic", market_every_s=0.2)
    async with serving(changed) as client:
        client.base_url = httpx.URL("http://localhost")
        yield client


def cells(page: httpx.Response, heading: str) -> list[str]:
    """The text of the row with that heading."""
    found = re.search(rf'<th scope="row">{heading}</th>(.*?)</tr>', page.text, re.S)
    assert found, page.text
    return re.findall(r'<td class="num">(.*?)</td>', found[1])


async def test_performance_tells_what_the_route_tells(pages: httpx.AsyncClient) -> None:
    for viewer_id in (1, 2, 1):
        await shown_to(pages, viewer_id)
    page = await pages.get("/console/performance?scope=replica")
    told = (await pages.get("/api/v1/recommendations/performance?scope=replica")).json()
    assert f"<b>{told['requests']}</b><span>requests</span>" in page.text
    assert cells(page, "heuristic")[:2] == ["3", "33 %"]
    assert cells(page, "ranking")[0].endswith(" ms")


async def test_an_empty_window_has_no_figures_and_is_asked_for_again_unless_paused(pages: httpx.AsyncClient) -> None:
    for query in ("", "window=600", "window=3600&scope=replica&live=off"):
        page = await pages.get(f"/console/performance?{query}")
        assert page.text.count("No request in this time.") == 2
        assert ('hx-trigger="every' in page.text) == ("live=off" not in query)


async def test_choices_and_pages_that_there_are_not_are_refused(pages: httpx.AsyncClient) -> None:
    await created(pages)
    for query in ("window=61", "scope=world", "window=60&window=60", "a=b"):
        page = await pages.get(f"/console/performance?{query}")
        assert (page.status_code, "<h1>That cannot be</h1>" in page.text) == (422, True)
    assert (await pages.get("/console/market?days=2")).status_code == 422
    for path in ("nobody", "nobody/report", "nobody/start", "trial/destroy"):
        assert (await pages.get(f"/console/experiments/{path}")).status_code == 404


async def test_without_the_fleets_figures_those_of_the_replica_are_shown_and_named(
    pages: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object, window_s: int) -> None:
        raise Unavailable

    monkeypatch.setattr(FleetPerformance, "report", away)
    await shown_to(pages, 1)
    page = await pages.get("/console/performance")
    assert "these are of the replica that answers alone" in page.text
    assert cells(page, "heuristic")[0] == "1"


async def test_however_many_look_the_fleet_is_asked_once_in_a_while(
    pages: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    report = FleetPerformance.report

    async def counted(fleet: FleetPerformance, window_s: int) -> object:
        asked.append(window_s)
        return await report(fleet, window_s)

    monkeypatch.setattr(FleetPerformance, "report", counted)
    for _ in range(3):
        await pages.get("/console/performance?window=3600")
    assert (asked, performance.WINDOWS["3600"].every_s >= 30) == ([3600], True)


async def test_an_experiment_is_started_ramped_and_stopped_by_pages_that_ask_first(pages: httpx.AsyncClient) -> None:
    await created(pages, traffic=0.5)
    asked = await pages.get(f"{PAGE}/start")
    assert "50 % of all viewers will be in it" in asked.text
    assert await arm_of(pages, 1) is None
    page = await send(pages, f"{PAGE}/start", of=f"{PAGE}/start")
    assert "trial is running" in page.text
    page = await send(pages, f"{PAGE}/ramp", of=f"{PAGE}/ramp", percent="100 %")
    assert "takes 100 % of viewers now" in page.text
    assert await arm_of(pages, 1) is not None
    page = await send(pages, f"{PAGE}/stop", of=f"{PAGE}/stop")
    assert "trial is stopped" in page.text
    assert await arm_of(pages, 1) is None


async def test_traffic_that_cannot_be_is_refused_beside_its_field(pages: httpx.AsyncClient) -> None:
    await created(pages)
    await patched(pages, status="running")
    for percent, said in (
        ("0", "more than 0"),
        ("101", "at most 1"),
        ("many", "such as 12.5"),
        ("nan", "more"),
        ("9" * 400, "at"),
    ):
        page = await send(pages, f"{PAGE}/ramp", of=f"{PAGE}/ramp", percent=percent)
        assert page.status_code == 422
        assert re.search(rf'role="alert">[^<]*{said}', page.text), page.text
        assert 'aria-invalid="true"' in page.text


async def test_what_is_not_possible_any_more_is_said(pages: httpx.AsyncClient) -> None:
    await created(pages)
    form = await pages.get(f"{PAGE}/start")
    token = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert token
    await patched(pages, status="running")
    await patched(pages, status="stopped")
    page = await pages.post(f"{PAGE}/start", data={"csrf": token[1]}, headers=ORIGIN)
    assert page.status_code == 409
    assert "cannot start again" in page.text
    assert "so this cannot be done" in (await pages.get(f"{PAGE}/ramp")).text


async def test_nothing_is_done_for_another_sites_form(pages: httpx.AsyncClient) -> None:
    await created(pages)
    await pages.get(f"{PAGE}/start")
    for data, headers in (({"csrf": "0" * 64}, ORIGIN), ({"a": "b"}, ORIGIN), ({"a": "b"}, {"origin": "http://evil.example"})):
        assert (await pages.post(f"{PAGE}/start", data=data, headers=headers)).status_code == 403
    assert await arm_of(pages, 1) is None


async def test_the_report_of_the_page_is_that_of_the_route(pages: httpx.AsyncClient, settings: Settings) -> None:
    await created(pages)
    await patched(pages, status="running")
    for viewer_id in range(1, 9):
        await shown_to(pages, viewer_id)
    await written(settings, 8)
    whole, part = await pages.get(f"{PAGE}/report"), await pages.get(f"{PAGE}/report", headers={"hx-request": "true"})
    told = await reported(pages)
    for arm in told["arms"]:
        for count in (arm["viewers"], arm["slates"], arm["impressions"]):
            assert f"<td>{figures.count(count)}</td>" in part.text
    assert told["verdicts"][0]["text"].split(":")[0] in part.text
    assert (whole.text.count("<h1>"), part.text.count("<h1>")) == (1, 0)


async def test_a_report_is_made_once_for_all_who_look_and_anew_after_a_change(
    pages: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await created(pages)
    await patched(pages, status="running")
    made: list[str] = []
    of = Reports.of

    async def counted(reports: Reports, name: str) -> object:
        made.append(name)
        return await of(reports, name)

    monkeypatch.setattr(Reports, "of", counted)
    for _ in range(3):
        await pages.get(f"{PAGE}/report")
    assert made == ["trial"]
    await patched(pages, status="stopped")
    await pages.get(f"{PAGE}/report")
    assert made == ["trial"] * 2


async def test_a_draft_has_no_report_and_its_arms_are_listed(pages: httpx.AsyncClient) -> None:
    assert "There are no experiments yet" in (await pages.get("/console/experiments")).text
    await created(pages)
    assert "made just now, not started" in (await pages.get("/console/experiments")).text
    page = await pages.get(PAGE)
    assert "hx-get" not in page.text
    assert "treatment" in page.text
    assert (await pages.get(f"{PAGE}/report")).status_code == 409


async def test_the_market_is_shown_as_it_was_last_computed(pages: httpx.AsyncClient, settings: Settings) -> None:
    slate = await shown_to(pages, 1)
    await written(settings, 1)
    n_shown = slate["total_count"]
    page = await pages.get("/console/market?days=1")
    for _ in range(100):
        if f"<b>{n_shown}</b><span>impressions</span>" in page.text:
            break
        await asyncio.sleep(0.1)
        page = await pages.get("/console/market?days=1")
    assert f"{60 - n_shown} of 60 active people" in page.text
    assert 'aria-label="Lorenz curve of exposure' in page.text
