"""The console as people meet it, in a Chromium: its flows, and whether everybody can use its pages."""

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import KEY, sign_in
from tests.browser.looking import Watched, faults
from tests.embedded import eventually
from tests.replicas import Replica
from tests.world import World

PERSON = "/console/people/1"
SLATES = f"{PERSON}?a=v1&b=heuristic&limit=6"


def paths(page: Page, world: World) -> list[str]:
    """Every page that the navigation leads to, and those behind them."""
    page.goto("/console")
    linked = page.get_by_role("navigation", name="Pages").get_by_role("link").all()
    found = [link.get_attribute("href") or "" for link in linked]
    assert len(found) >= 4
    page.goto(PERSON)
    shown = page.locator(".people a", has_text="why").first.get_attribute("href") or ""
    return [
        *found,
        "/console/people?q=an",
        "/console/people?q=nobody",
        SLATES,
        f"{PERSON}/why/2",
        shown,
        f"/console/bundles/{world.newer}/promote",
        "/console/bundles/refresh",
    ]


def reach(page: Page, name: str) -> None:
    """Press the tabulator until what has this name has the focus, which must be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        told = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.getAttribute('aria-label') || e.textContent, s.outlineStyle, s.outlineWidth]; }"
        )
        assert told[1] != "none", told
        assert float(told[2].removesuffix("px")) >= 2, told
        if told[0].strip() == name:
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


def test_from_the_sign_in_to_why_somebody_is_shown_by_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.goto("/console/people")
    expect(page).to_have_title("Sign in · Amity")
    page.keyboard.type(KEY)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/people")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{PERSON}")
    first = page.locator(".people h4 a").first.inner_text()
    reach(page, first)
    reach(page, f"why {first}")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(re.compile(f"^Why {re.escape(first)} for "))
    expect(page.locator(".way .passed")).to_have_count(6)


def test_the_first_stop_leads_past_the_navigation(page: Page) -> None:
    page.goto(PERSON)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_what_got_into_a_page_all_the_same_does_not_run(watched: Watched, page: Page) -> None:
    page.goto(PERSON)
    page.evaluate("""() => {
        const put = (html) => document.body.insertAdjacentHTML('beforeend', html);
        const script = document.createElement('script');
        script.textContent = 'window.ran = "script"';
        document.body.append(script);
        put('<svg><a id="bad" onclick="window.ran = 1" hx-on:click="window.ran = 2" style="color: rgb(1, 2, 3)">x</a></svg>');
        const bad = document.getElementById('bad');
        htmx.process(bad);
        bad.dispatchEvent(new Event('click', { bubbles: true }));
    }""")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.getElementById('bad')).color") != "rgb(1, 2, 3)"
    assert any("Content Security Policy" in said for said in watched.wrong)
    watched.wrong.clear()


def test_choosing_a_ranker_swaps_the_slates_alone_and_keeps_them_in_the_address(page: Page) -> None:
    page.goto(PERSON)
    page.evaluate("window.stays = true")
    page.get_by_label("Beside it").select_option("heuristic")
    expect(page.locator(".slate")).to_have_count(2)
    expect(page.locator(".slate h3").nth(1)).to_contain_text("heuristic")
    expect(page.get_by_role("status")).to_contain_text("in both slates")
    assert page.evaluate("window.stays") is True
    assert "b=heuristic" in page.url
    page.reload()
    expect(page.locator(".slate")).to_have_count(2)
    page.go_back()
    expect(page.locator(".slate")).to_have_count(1)


def test_without_scripts_all_of_it_works(browser: Browser, service: Replica) -> None:
    with closing(browser.new_context(base_url=service.url, java_script_enabled=False)) as context:
        page = context.new_page()
        sign_in(page)
        page.get_by_label("Id or name").fill("1")
        page.get_by_role("button", name="Look up").click()
        page.get_by_label("Beside it").select_option("heuristic")
        page.get_by_role("button", name="Show").click()
        expect(page.locator(".slate")).to_have_count(2)
        page.get_by_role("button", name="Drop ranked pools").click()
        expect(page.get_by_role("status")).to_have_text("The pools of 1 person were dropped.")


def test_a_wrong_key_is_told_where_it_was_typed_and_signing_out_ends_it(watched: Watched) -> None:
    page, watched.expected = watched.page, {403}
    page.goto("/console/sign-in")
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is no key of this service.")
    assert page.get_by_label("API key").get_attribute("aria-describedby") == "wrong"
    assert faults(page) == []
    sign_in(page)
    page.get_by_role("button", name="Sign out").click()
    page.goto("/console/bundles")
    expect(page).to_have_title("Sign in · Amity")


def test_a_bundle_is_promoted_after_a_second_look_and_rolled_back(page: Page, service: Replica, world: World) -> None:
    page.goto("/console/bundles")
    page.get_by_role("link", name=f"Promote {world.newer}").click()
    expect(page.locator("h1")).to_have_text(f"Promote {world.newer}?")
    page.get_by_role("button", name=f"Make {world.newer} live").click()
    expect(page.get_by_role("status")).to_contain_text(f"Bundle {world.newer} is live.")
    assert eventually(lambda: service.ready()["bundle_version"] == world.newer)
    page.get_by_role("link", name="Roll back").click()
    page.get_by_role("button", name=f"Make {world.older} live").click()
    expect(page.get_by_role("status")).to_contain_text(f"Bundle {world.older} is live.")
    assert eventually(lambda: service.ready()["bundle_version"] == world.older)


@pytest.fixture(params=["light", "dark", "phone"])
def anybodys(request: pytest.FixtureRequest, browser: Browser, service: Replica) -> Iterator[Watched]:
    """A page, signed in, in either colours and as narrow as phones are."""
    size = {"width": 360, "height": 740} if request.param == "phone" else {"width": 1280, "height": 900}
    scheme = "dark" if request.param == "dark" else "light"
    with closing(new_context(browser, service, scheme, size)) as context:
        watched = Watched(context.new_page())
        sign_in(watched.page)
        yield watched


def new_context(browser: Browser, service: Replica, scheme: str, size: dict[str, int]) -> BrowserContext:
    return browser.new_context(base_url=service.url, color_scheme=scheme, viewport=size)  # type: ignore[arg-type]


def test_everybody_can_use_every_page(anybodys: Watched, world: World) -> None:
    """Names, headings, contrast, no scrolling sideways; and nothing goes wrong on any."""
    page = anybodys.page
    found = {}
    for path in paths(page, world):
        page.goto(path)
        if wrong := faults(page):
            found[path] = wrong
    anybodys.expected = {404}
    page.goto("/console/people/999999")
    assert faults(page) == []
    assert found == {}
    assert anybodys.wrong == []
