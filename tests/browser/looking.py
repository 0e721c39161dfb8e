"""What is looked at on a page: what went wrong while it was loaded, and whether everybody can use it."""

from pathlib import Path

from playwright.sync_api import Page

_FAULTS = Path(__file__).with_name("looking.js").read_text()


class Watched:
    """A page, and whatever went wrong on it. `expected`: statuses that a test means to meet."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.expected: set[int] = set()
        page.on("console", lambda said: self._note(f"console: {said.text}") if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._note(f"script: {error}"))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        page.on("response", lambda got: self._note(f"answer: status of {got.status} {got.url}") if got.status >= 400 else None)

    def _failed(self, url: str, why: str) -> None:
        if why != "net::ERR_ABORTED":  # the browser went to another page meanwhile
            self._note(f"failed: {url} {why}")

    def _note(self, what: str) -> None:
        if not any(f"status of {status}" in what for status in self.expected):
            self.wrong.append(what)


def faults(page: Page) -> list[str]:
    """What keeps some from using the page as it is now: names, headings, contrast, width."""
    found: list[str] = page.evaluate(_FAULTS)
    return found
