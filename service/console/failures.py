"""Errors as pages, for who reads them; the sign-in for who has no session."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from litestar import Response
from litestar.exceptions import HTTPException

from service.console.frame import page
from service.controllers.failures import on_unexpected
from service.controllers.routes import AnyRequest
from service.errors import AmityError, BadInput, Problem, Unauthorized, Unavailable

SIGN_IN = "/console/sign-in"
_MOST_PROBLEMS = 20
_TITLES = {
    403: "Not allowed",
    404: "Nothing here",
    409: "Not as things stand",
    422: "That cannot be",
    429: "Too many attempts",
    503: "Not now",
}


def _on_amity_error(request: AnyRequest, exc: AmityError) -> Response[bytes]:
    if isinstance(exc, Unauthorized):
        return _to_sign_in(request)
    if exc.status == 500:
        return _on_unexpected(request, exc)
    problems = exc.problems if isinstance(exc, BadInput) else ()
    response = _error(request, exc.status, exc.message, problems)
    if isinstance(exc, Unavailable):
        response.headers["Retry-After"] = str(exc.retry_after_s)
    return response


def _on_http_exception(request: AnyRequest, exc: HTTPException) -> Response[bytes]:
    if exc.status_code >= 500:
        return _on_unexpected(request, exc)
    return _error(request, exc.status_code, exc.detail)


def _on_unexpected(request: AnyRequest, exc: Exception) -> Response[bytes]:
    on_unexpected(request, exc)  # counts and logs it; its reply is for machines
    return _error(request, 500, "This is a defect of the service; it was logged under the request id.")


def _error(request: AnyRequest, status: int, message: str, problems: tuple[Problem, ...] = ()) -> Response[bytes]:
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    return page(request, "error.html", status, title=title, message=message, problems=problems[:_MOST_PROBLEMS])


def _to_sign_in(request: AnyRequest) -> Response[bytes]:
    """HTMX is told in a header, since it would put the sign-in where a part of the page was; a form that came without a session
    is lost."""
    if "hx-request" in request.headers:
        return Response(b"", status_code=401, headers={"HX-Redirect": SIGN_IN})
    query_string = request.scope["query_string"].decode("latin-1")
    asked = request.scope["path"] + (f"?{query_string}" if query_string else "")
    query = f"?next={quote(asked, safe='')}" if request.method == "GET" and asked != "/console" else ""
    return Response(b"", status_code=HTTPStatus.SEE_OTHER, headers={"Location": SIGN_IN + query, "Cache-Control": "no-store"})


ERROR_PAGES: dict[Any, Any] = {AmityError: _on_amity_error, HTTPException: _on_http_exception, Exception: _on_unexpected}
