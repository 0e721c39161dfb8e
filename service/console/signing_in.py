"""Into the console with an admin's key, and out of it."""

import re
import time
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Controller, Response, get, post

from service.console.admission import form_of, session_of
from service.console.failures import SIGN_IN
from service.console.frame import forget, go, keep, page
from service.console.sessions import begin
from service.controllers.exchange import exchange_of
from service.controllers.keys import Keyring
from service.controllers.routes import AnyRequest, query_of
from service.errors import Unavailable
from service.resilience import Clock

HOME = "/console"
_OWN_PATH = re.compile(r"/console(?:[/?][A-Za-z0-9/_.~?&=%+-]*)?")


class SignInQuery(msgspec.Struct, frozen=True, kw_only=True):
    next: str = HOME


class SignInForm(SignInQuery, frozen=True, kw_only=True):
    key: str = ""


class TooManyAttempts(Unavailable):
    """Too many attempts to sign in; try again in a few seconds"""

    status = 429
    retry_after_s = 2


class Attempts:
    """Ten wrong keys at once, and one more every two seconds, of everybody together at one replica; what is beyond is answered
    without a word on the key. A right key is never refused, lest anybody could lock operators out by sending wrong ones. What
    keeps guessers out is the length of keys: the interface compares them too, and counts no attempts."""

    AT_ONCE = 10
    EVERY_S = 2.0

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._left = float(self.AT_ONCE)
        self._at_s = clock()

    def take(self) -> None:
        """Raises TooManyAttempts."""
        now_s = self._clock()
        self._left = min(self.AT_ONCE, self._left + (now_s - self._at_s) / self.EVERY_S)
        self._at_s = now_s
        if self._left < 1:
            raise TooManyAttempts
        self._left -= 1


class SignIn(Controller):
    path = "/"
    opt = {"open": True}  # noqa: RUF012 - as Litestar declares it

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self._attempts = Attempts()

    @get("/sign-in")
    async def form(self, request: AnyRequest) -> Response[bytes]:
        where = _own(query_of(request, SignInQuery).next)
        if session_of(request) is not None:
            return go(request, where)
        return page(request, "sign_in.html", where=where, wrong=None)

    @post("/sign-in", status_code=200)
    async def sign_in(self, request: AnyRequest) -> Response[bytes]:
        """To the page that was asked for, by way of one that sees whether the browser kept the cookie."""
        form = form_of(request, SignInForm)
        where = _own(form.next)
        keyring: Keyring = request.app.state.keyring
        if keyring.is_open:
            return go(request, where)
        key = keyring.of_token(form.key.strip().encode())
        if key is None or "admin" not in key.scopes:
            self._attempts.take()
            wrong = "That is no key of this service." if key is None else f"The key {key.name} lacks the scope admin."
            return page(request, "sign_in.html", 403, where=where, wrong=wrong)
        response = go(request, f"{HOME}/signed-in?next={quote(where, safe='')}")
        keep(response, request, begin(key))
        exchange = exchange_of(request)
        exchange.event = "operator signed in"
        exchange.fields["operator"] = key.name
        return response

    @get("/signed-in")
    async def signed_in(self, request: AnyRequest) -> Response[bytes]:
        where = _own(query_of(request, SignInQuery).next)
        if session_of(request) is not None:
            return go(request, where)
        wrong = (
            "The key is right, but your browser did not keep the session: it keeps it over https only. Open the console by https."
        )
        return page(request, "sign_in.html", 403, where=where, wrong=wrong)


class SignOut(Controller):
    path = "/sign-out"

    @post("/", status_code=200)
    async def sign_out(self, request: AnyRequest) -> Response[bytes]:
        response = go(request, SIGN_IN)
        forget(response)
        return response


def _own(path: str) -> str:
    """A page of the console, whatever the query asks for."""
    return path if _OWN_PATH.fullmatch(path) else HOME
