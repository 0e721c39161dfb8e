"""A Chromium, and a service with keys for it to look at: a small demo population with two bundles."""

import hashlib
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.looking import Watched
from tests.programs import program
from tests.replicas import Replica
from tests.world import World

KEY = "open sesame"

expect.set_options(timeout=20_000)  # ms, for busy machines


@pytest.fixture(scope="module")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """One replica that the module's tests share."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    settings = world.changed(API_KEYS=f"ops:admin+read+write:{digest}", FEED_POLL_MS="50")
    with Replica(settings, tmp_path_factory.mktemp("service") / "log") as replica:
        assert replica.url
        yield replica


@pytest.fixture(scope="module")
def browser(service: Replica) -> Iterator[Browser]:
    """Started after the service and ended before it: while Playwright runs, its event loop is this thread's, and what the other
    fixtures run would find no place."""
    path = program("chromium", "chromium-browser", "google-chrome", brought_by="Debian's package chromium")
    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])) as made,
    ):
        yield made


@pytest.fixture
def context(browser: Browser, service: Replica) -> Iterator[BrowserContext]:
    """A browser without cookies, in light colours."""
    with closing(browser.new_context(base_url=service.url, color_scheme="light")) as made:
        yield made


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[Watched]:
    """A page of it on which nothing may go wrong: no errors in its console, no request that fails."""
    watched = Watched(context.new_page())
    yield watched
    assert watched.wrong == []


@pytest.fixture
def page(watched: Watched) -> Page:
    """The page, signed in."""
    sign_in(watched.page)
    return watched.page


def sign_in(page: Page) -> None:
    page.goto("/console/sign-in")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console")
