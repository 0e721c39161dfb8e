"""Performance, experiments and the market as people meet them, in a Chromium."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import KEY, sign_in
from tests.browser.looking import Watched, faults
from tests.embedded import eventually
from tests.replicas import Replica
from tests.world import World

HEADERS = {"authorization": f"Bearer {KEY}"}
TRIAL = {
    "name": "trial",
    "traffic": 0.5,
    "arms": [{"name": "control", "algorithm_version": "v1"}, {"name": "treatment", "algorithm_version": "v2"}],
    "guardrails": {"max_p95_ms": 5000},
}


@pytest.fixture(scope="module")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica that looks at the market every half second, has answered some requests, and has an experiment."""
    settings = world.changed(API_KEYS=f"ops:admin+read+write:{hashlib.sha256(KEY.encode()).hexdigest()}", MARKET_EVERY_S="0.5")
    with Replica(settings, tmp_path_factory.mktemp("service") / "log") as replica:
        ask(replica, 12)
        httpx.post(f"{replica.url}/api/v1/experiments", json=TRIAL, headers=HEADERS).raise_for_status()
        yield replica


def ask(service: Replica, n: int) -> None:
    for viewer_id in range(1, n + 1):
        path = f"/api/v1/recommendations/users/{viewer_id}/recommendations"
        httpx.get(f"{service.url}{path}", headers=HEADERS, timeout=20).raise_for_status()


def number_of(page: Page, what: str) -> int:
    told = page.locator(".figure", has_text=what).locator("b").first.inner_text()
    return int(told.replace(",", ""))


def test_performance_follows_what_happens_while_it_is_looked_at(page: Page, service: Replica) -> None:
    page.goto("/console/performance")
    page.evaluate("window.stays = true")
    before = number_of(page, "requests")
    ask(service, 5)
    expect(page.locator(".figure", has_text="requests").locator("b").first).to_have_text(f"{before + 5}", timeout=10_000)
    assert page.evaluate("window.stays") is True
    expect(page.locator("#stages tr", has_text="ranking").locator("svg")).to_be_visible()
    page.get_by_role("link", name="Pause").click()
    expect(page.get_by_role("link", name="Go on")).to_be_visible()
    assert page.locator("[hx-trigger]").count() == 0


def test_nothing_is_asked_while_the_page_is_not_seen(page: Page) -> None:
    page.goto("/console/performance")
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })")
    page.wait_for_timeout(2500)
    assert [url for url in asked if "/console/performance" in url] == []
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => false })")
    with page.expect_request("**/console/performance**"):
        pass


def test_an_experiment_is_started_looked_at_and_stopped(watched: Watched, page: Page, service: Replica) -> None:
    page.goto("/console/experiments")
    page.get_by_role("link", name="trial").click()
    page.get_by_role("link", name="Start").click()
    expect(page.locator("h1")).to_have_text("Start trial?")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("status").first).to_contain_text("trial is running")
    ask(service, 12)
    expect(page.locator(".report .verdict")).to_contain_text("treatment")
    expect(page.locator(".report figure")).to_have_count(6)
    page.get_by_role("link", name="Change traffic").click()
    watched.expected = {422}
    page.get_by_label("Percent of all viewers").fill("200")
    page.get_by_role("button", name="Change traffic").click()
    expect(page.get_by_role("alert")).to_contain_text("at most 1")
    assert faults(page) == []
    page.get_by_role("link", name="Leave it").click()
    page.get_by_role("link", name="Stop").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").first).to_contain_text("trial is stopped")
    expect(page.get_by_role("link", name="Start")).to_have_count(0)


@pytest.fixture(params=["light", "dark", "phone"])
def anybodys(request: pytest.FixtureRequest, browser: Browser, service: Replica) -> Iterator[Watched]:
    """A page, signed in, in either colours and as narrow as phones are."""
    size = {"width": 360, "height": 740} if request.param == "phone" else {"width": 1280, "height": 900}
    scheme = "dark" if request.param == "dark" else "light"
    with closing(browser.new_context(base_url=service.url, color_scheme=scheme, viewport=size)) as context:  # type: ignore[arg-type]
        watched = Watched(context.new_page())
        sign_in(watched.page)
        yield watched


def test_everybody_can_read_every_figure(anybodys: Watched, service: Replica) -> None:
    """Names, headings, contrast, no scrolling sideways, with all tables open; and nothing goes wrong on any."""
    page, found = anybodys.page, {}
    assert eventually(lambda: (page.goto("/console/market?days=1"), page.locator(".chart svg").count())[1] > 2)
    for path in (
        "performance",
        "market?days=1",
        "market?days=28",
        "experiments",
        "experiments/trial/report",
        "experiments/trial/ramp",
    ):
        page.goto(f"/console/{path}")
        for table in page.locator("summary").all():
            table.click()
        if wrong := faults(page):
            found[path] = wrong
    assert (found, anybodys.wrong) == ({}, [])


def test_the_market_can_be_read_as_tables(page: Page) -> None:
    page.goto("/console/market?days=1")
    page.get_by_text("The same as a table").first.click()
    rows = page.get_by_role("region", name="Who gets the impressions").get_by_role("row").all_inner_texts()
    assert len(rows) == 11
    assert re.fullmatch(r"100 %\s+100\.0 %", rows[-1])
