"""What every page stands in: layout, navigation, headers, the token of its forms, and a word about what was just done."""

import hmac
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Response

from service.console.admission import session_of
from service.console.assets import asset
from service.console.pages import PAGES, current
from service.console.sessions import COOKIE, LIFE_S, Session
from service.console.words import FILTERS
from service.controllers.exchange import exchange_of
from service.controllers.keys import is_loopback
from service.controllers.routes import AnyRequest
from service.settings import Settings

SAID = "amity_console_said"
_SAID_S = 60
_CONTENT = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
# Not `no-referrer`: browsers then send `Origin: null` with our own forms, and their origin is what proves them ours.
_HEADERS = {
    "Content-Security-Policy": _CONTENT,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_ENVIRONMENT = Environment(
    loader=PackageLoader("service.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters |= FILTERS
_ENVIRONMENT.globals |= {"asset": asset, "pages": PAGES}


def page(request: AnyRequest, template: str, status: int = 200, **values: Any) -> Response[bytes]:
    """A template rendered: a whole page when it extends `base.html`, else a part of one, for HTMX."""
    session = session_of(request)
    shared = {
        "current": current(request.scope["path"]),  # not of `request.url`, which is made with whatever Host the request has
        "session": session,
        "csrf": "" if session is None else session.csrf,
        "said": _said(request, session),
        "request_id": exchange_of(request).request_id,
        "amity_version": request.app.state.version,
    }
    body = _ENVIRONMENT.get_template(template).render(shared | values)
    response = Response(body.encode(), status_code=status, media_type=MediaType.HTML, headers=_HEADERS)
    if session is not None and session.is_new:
        keep(response, request, session)
    if SAID in request.cookies:
        response.delete_cookie(SAID, path="/console")
    return response


def go(request: AnyRequest, path: str, said: str | None = None) -> Response[bytes]:
    """Sends the browser to another page of the console, after a form was heeded; that page shows `said` once."""
    response = Response(b"", status_code=HTTPStatus.SEE_OTHER, media_type=MediaType.HTML, headers=_HEADERS | {"Location": path})
    session = session_of(request)
    if said is not None and session is not None:
        value = f"{session.mac('said', said)}{quote(said, safe='')}"
        _set(response, request, SAID, value, _SAID_S)
    return response


def keep(response: Response[bytes], request: AnyRequest, session: Session) -> None:
    """Gives the browser the session's cookie."""
    _set(response, request, COOKIE, session.cookie, LIFE_S)


def forget(response: Response[bytes]) -> None:
    """Ends the session in the browser."""
    response.delete_cookie(COOKIE, path="/console")


def _set(response: Response[bytes], request: AnyRequest, name: str, value: str, life_s: int) -> None:
    """For this site's own pages alone, and over https alone unless the service is on loopback: there is none, but for a proxy
    beside it, of which the page's origin tells."""
    settings: Settings = request.app.state.settings
    is_secure = not is_loopback(settings.host) or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(name, value, max_age=life_s, path="/console", httponly=True, secure=is_secure, samesite="strict")


def _said(request: AnyRequest, session: Session | None) -> str | None:
    """What the request before this one left to be said; None too for words that are not ours."""
    value = request.cookies.get(SAID, "")
    if session is None or len(value) < 64:
        return None
    said = unquote(value[64:])
    return said if hmac.compare_digest(value[:64].encode(), session.mac("said", said).encode()) else None
