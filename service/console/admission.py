"""What stands before every handler of the console: a session, and for whatever changes something, proof that our own page asked.

A handler whose `opt` has `open` needs no session: the sign-in and the assets.
"""

import hmac
from collections.abc import MutableMapping
from typing import Any, TypeVar

import msgspec

from service.console.sessions import COOKIE, Session, resume
from service.controllers.exchange import exchange_of
from service.controllers.hosts import require_own_host
from service.controllers.keys import Keyring
from service.controllers.queries import decode_query
from service.controllers.routes import AnyRequest, read_body
from service.errors import BadInput, Forbidden, Unauthorized, UnsupportedMedia

S = TypeVar("S", bound=msgspec.Struct)

_SESSION = "amity.console.session"
_FORM = "amity.console.form"
_FIELD = b"csrf="
_MAX_BYTES = 8 * 1024
"""Of a form, and of a query: ours are of some hundred bytes. One of a MiB kept the event loop busy for half a second with naming
each of its fields that nobody knows, and the sign-in is open to everybody."""


async def admit(request: AnyRequest) -> None:
    """Raises Unauthorized without a session, and Forbidden for what another site may have sent."""
    keyring: Keyring = request.app.state.keyring
    require_own_host(request)
    if len(request.scope["query_string"]) > _MAX_BYTES:
        raise BadInput.of("query", f"must be at most {_MAX_BYTES >> 10} KiB long")
    session = resume(keyring, request.cookies.get(COOKIE))
    scope: MutableMapping[str, Any] = request.scope  # type: ignore[assignment]  # a TypedDict, to which servers and we add keys
    scope[_SESSION] = session
    is_open = request.route_handler.opt.get("open", False)
    if session is None and not is_open:
        raise Unauthorized
    if request.method == "POST":
        _require_own_page(request)
        token, scope[_FORM] = _without_token(await _form(request))
        if session is not None and not is_open:
            if not hmac.compare_digest(token, session.csrf.encode()):
                raise Forbidden("This form is from another session; load its page again")
            exchange_of(request).fields["operator"] = session.name


class NoForm(msgspec.Struct, frozen=True):
    """A form without fields."""


def session_of(request: AnyRequest) -> Session | None:
    """Who is signed in; None only where a handler is open."""
    scope: Any = request.scope
    session: Session | None = scope.get(_SESSION)
    return session


def form_of(request: AnyRequest, into: type[S]) -> S:
    """The fields of a form that was sent, without its token; raises BadInput naming every one that is wrong."""
    scope: Any = request.scope
    return decode_query(scope[_FORM], into)


def _require_own_page(request: AnyRequest) -> None:
    """Browsers name the page's origin with every POST, and no page can make them lie."""
    _, _, origin = request.headers.get("origin", "").partition("://")
    if not origin or origin != request.headers.get("host", ""):
        raise Forbidden("This was not sent by a page of the console")


async def _form(request: AnyRequest) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise UnsupportedMedia("A form must be application/x-www-form-urlencoded")
    return await read_body(request, _MAX_BYTES)


def _without_token(form: bytes) -> tuple[bytes, bytes]:
    """The token, empty where there is none, and the other fields."""
    fields = form.split(b"&")
    tokens = [field.removeprefix(_FIELD) for field in fields if field.startswith(_FIELD)]
    return b"".join(tokens), b"&".join(field for field in fields if not field.startswith(_FIELD))
