"""Into the console and out of it: keys, cookies, tokens, and whose page asks."""

import hashlib
import re
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
import structlog

from service.console import sessions
from service.controllers.keys import parse_keys
from service.domain import Profile
from service.settings import Settings
from tests.http.conftest import serving

ORIGIN = {"origin": "http://localhost"}


def entry(name: str, scopes: str, token: str) -> str:
    return f"{name}:{scopes}:{hashlib.sha256(token.encode()).hexdigest()}"


KEYS = f"{entry('ops', 'admin', 'open sesame')},{entry('app', 'read+write', 'no admin')}"


@pytest.fixture
async def browser(settings: Settings, people: list[Profile]) -> AsyncIterator[httpx.AsyncClient]:
    """Where keys are set, on loopback."""
    async with serving(msgspec.structs.replace(settings, api_keys=KEYS)) as client:
        client.base_url = httpx.URL("http://localhost")
        yield client


@pytest.fixture
async def keyless(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.base_url = httpx.URL("http://localhost")
    return client


async def sign_in(client: httpx.AsyncClient, key: str = "open sesame", where: str = "/console") -> httpx.Response:
    form = {"key": key, "next": where}
    return await client.post("/console/sign-in", data=form, headers=ORIGIN, follow_redirects=True)


def token_in(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


async def test_a_page_without_a_session_leads_to_the_sign_in_and_back(browser: httpx.AsyncClient) -> None:
    asked = await browser.get("/console/nowhere?a=b%26c")
    assert (asked.status_code, asked.headers["location"]) == (303, "/console/sign-in?next=%2Fconsole%2Fnowhere%3Fa%3Db%2526c")
    page = await sign_in(browser, where="/console/nowhere?a=b%26c")
    assert str(page.url) == "http://localhost/console/nowhere?a=b%26c"


async def test_log_lines_have_statuses_as_plain_numbers(browser: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as logs:
        await browser.get("/console")
        await browser.get("/console/sign-in")
    assert [repr(line["status"]) for line in logs if line["event"] == "request answered"] == ["303", "200"]


async def test_the_cookie_is_for_this_sites_own_requests_and_no_scripts(browser: httpx.AsyncClient) -> None:
    page = await browser.post("/console/sign-in", data={"key": "open sesame"}, headers=ORIGIN)
    cookie = page.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/console" in cookie
    assert "max-age=43200" in cookie
    assert "secure" not in cookie  # on loopback, where there is no https


async def test_behind_a_proxy_that_ends_https_on_this_machine_the_cookie_is_for_https_alone(browser: httpx.AsyncClient) -> None:
    page = await browser.post("/console/sign-in", data={"key": "open sesame"}, headers={"origin": "https://localhost"})
    assert "; Secure" in page.headers["set-cookie"]


async def test_off_loopback_the_cookie_is_for_https_alone_and_who_cannot_keep_it_is_told(
    settings: Settings, people: list[Profile]
) -> None:
    async with serving(msgspec.structs.replace(settings, api_keys=KEYS, host="0.0.0.0")) as client:
        client.base_url = httpx.URL("http://amity.example")
        origin = {"origin": "http://amity.example"}
        page = await client.post("/console/sign-in", data={"key": "open sesame"}, headers=origin, follow_redirects=True)
    assert "Secure" in page.history[0].headers["set-cookie"]
    assert page.status_code == 403
    assert "over https only" in page.text


async def test_a_key_that_is_no_admins_does_not_sign_in(browser: httpx.AsyncClient) -> None:
    for key, said in {"wrong": "That is no key", "no admin": "app lacks the scope admin", "": "That is no key"}.items():
        page = await sign_in(browser, key)
        assert (page.status_code, "set-cookie" in page.headers) == (403, False)
        assert said in page.text


async def test_the_sign_in_leads_nowhere_else(browser: httpx.AsyncClient) -> None:
    for elsewhere in (
        "https://evil.example/",
        "//evil.example",
        "/console\\..",
        "/consolex",
        "/api/v1/algorithms",
        "/console/\r\nX: y",
    ):
        page = await sign_in(browser, where=elsewhere)
        assert str(page.url) == "http://localhost/console", elsewhere


async def test_attempts_to_sign_in_are_few(browser: httpx.AsyncClient) -> None:
    statuses = [(await sign_in(browser, "wrong")).status_code for _ in range(11)]
    assert statuses == [403] * 10 + [429]
    assert (await sign_in(browser, "no admin")).headers["retry-after"] == "2"


async def test_nobody_can_lock_operators_out_by_sending_wrong_keys(browser: httpx.AsyncClient) -> None:
    statuses = {(await sign_in(browser, "wrong")).status_code for _ in range(12)}
    assert (429 in statuses, (await sign_in(browser)).status_code) == (True, 200)


async def test_forms_and_queries_are_short_before_anybody_has_signed_in(browser: httpx.AsyncClient) -> None:
    fields = "&".join(f"{number}=" for number in range(1000))
    form = {"content-type": "application/x-www-form-urlencoded", **ORIGIN}
    sent = await browser.post("/console/sign-in", content=fields, headers=form)
    assert (sent.status_code, sent.text.count("is not a known parameter")) == (422, 20)
    long = await browser.post("/console/sign-in", content=fields * 3, headers=form)
    assert (long.status_code, "larger than 8 KiB" in long.text) == (413, True)
    asked = await browser.get(f"/console/sign-in?{fields * 3}")
    assert (asked.status_code, "at most 8 KiB" in asked.text) == (422, True)


async def test_what_was_changed_is_logged_with_whose_key_it_was(browser: httpx.AsyncClient) -> None:
    with structlog.testing.capture_logs() as logs:
        token = token_in(await sign_in(browser))
        await browser.post("/console/sign-out", data={"csrf": token}, headers=ORIGIN)
    assert [line["event"] for line in logs if line.get("operator") == "ops"] == ["operator signed in", "request answered"]


async def test_signing_out_ends_the_session_in_the_browser(browser: httpx.AsyncClient) -> None:
    page = await sign_in(browser)
    await browser.post("/console/sign-out", data={"csrf": token_in(page)}, headers=ORIGIN)
    assert sessions.COOKIE not in browser.cookies
    assert (await browser.get("/console")).status_code == 303


async def test_a_session_ends_with_its_key_its_scope_or_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = parse_keys(KEYS)
    key = keyring.named("ops")
    assert key
    cookie = sessions.begin(key).cookie
    assert sessions.resume(keyring, cookie) is not None
    assert sessions.resume(parse_keys(entry("ops", "admin", "another key")), cookie) is None
    assert sessions.resume(parse_keys(entry("ops", "read", "open sesame")), cookie) is None
    assert sessions.resume(parse_keys(entry("other", "admin", "open sesame")), cookie) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + sessions.LIFE_S + 1)
    assert sessions.resume(keyring, cookie) is None


async def test_no_letter_of_a_cookie_can_be_changed() -> None:
    keyring = parse_keys(f"{KEYS},{entry('opt', 'admin', 'third')}")
    key = keyring.named("ops")
    assert key
    cookie = sessions.begin(key).cookie
    changed = [cookie[:i] + ("1" if cookie[i] != "1" else "2") + cookie[i + 1 :] for i in range(len(cookie))]
    assert [one for one in changed if sessions.resume(keyring, one) is not None] == []
    assert sessions.resume(keyring, cookie.replace("ops", "opt")) is None


@pytest.mark.parametrize(
    "origin", [{}, {"origin": "null"}, {"origin": "https://evil.example"}, {"origin": "http://localhost:81"}]
)
async def test_a_form_of_another_site_is_refused(browser: httpx.AsyncClient, origin: dict[str, str]) -> None:
    token = token_in(await sign_in(browser))
    sent = await browser.post("/console/sign-out", data={"csrf": token}, headers=origin)
    assert sent.status_code == 403


async def test_a_form_needs_the_token_of_its_session(browser: httpx.AsyncClient) -> None:
    earlier = token_in(await sign_in(browser))
    browser.cookies.clear()
    token = token_in(await sign_in(browser))
    for tokens in ([], [""], [earlier], [token, token], ["é"]):
        sent = await browser.post("/console/sign-out", data={"csrf": tokens}, headers=ORIGIN)
        assert sent.status_code == 403, tokens
    assert (await browser.post("/console/sign-out", data={"csrf": token}, headers=ORIGIN)).status_code == 303


async def test_without_keys_a_form_needs_the_token_of_its_cookie(keyless: httpx.AsyncClient) -> None:
    await keyless.get("/console")
    cookie = keyless.cookies[sessions.COOKIE]
    session = sessions.resume(parse_keys(""), cookie)
    assert session
    assert (await keyless.post("/console/sign-out", data={"csrf": session.csrf}, headers=ORIGIN)).status_code == 303
    keyless.cookies.set(sessions.COOKIE, "x" * 43, domain="localhost.local", path="/console")
    assert (await keyless.post("/console/sign-out", data={"csrf": session.csrf}, headers=ORIGIN)).status_code == 403


async def test_a_session_is_no_key_of_the_interface(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    assert (await browser.get("/api/v1/algorithms")).status_code == 401


async def test_without_keys_no_name_but_of_this_machine_is_heeded(keyless: httpx.AsyncClient) -> None:
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "[::1", ""):
        answer = await keyless.get("/console", headers={"host": host})
        assert answer.status_code in (400, 403), host
        assert "set-cookie" not in answer.headers


async def test_without_keys_nobody_signs_in(keyless: httpx.AsyncClient) -> None:
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        page = await keyless.get("/console", headers={"host": host})
        assert page.status_code == 200, host
        assert "whoever reaches this address may do everything" in page.text


async def test_no_page_lets_anything_in_from_elsewhere_or_stays_behind(keyless: httpx.AsyncClient) -> None:
    headers = (await keyless.get("/console")).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


async def test_assets_are_kept_for_ever_and_are_none_of_another_release(keyless: httpx.AsyncClient) -> None:
    page = await keyless.get("/console")
    for path in re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text):
        found = await keyless.get(path)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
        stale = re.sub(r"/[0-9a-f]{12}/", "/000000000000/", path)
        assert (await keyless.get(stale)).status_code == 404


async def test_an_unknown_page_is_a_page(keyless: httpx.AsyncClient) -> None:
    page = await keyless.get("/console/nowhere")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>Nothing here</h1>" in page.text


async def test_htmx_without_a_session_is_led_to_the_sign_in(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/console", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/console/sign-in")
