"""Every error in the one shape: `{"error", "detail", "request_id"}`."""

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import MediaType, Response
from litestar.exceptions import HTTPException

from service import metrics
from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest
from service.errors import AmityError, BadInput, Problem, Unauthorized, Unavailable
from service.logs import frames_of

_LOG = structlog.get_logger("amity.http")
_ENCODER = msgspec.json.Encoder()
_DETAILS = {
    404: "There is no such route",
    405: "This route does not take this method",
}


class ErrorReply(msgspec.Struct, frozen=True):
    """`detail` is a list for validation and a sentence otherwise."""

    error: str
    detail: list[Problem] | str
    request_id: str


def on_amity_error(request: AnyRequest, exc: AmityError) -> Response[bytes]:
    """For everything that is raised on purpose. The class knows its status."""
    if exc.status == 500:
        return on_unexpected(request, exc)
    headers = {}
    if exc.status == 503:
        headers["Retry-After"] = str(exc.retry_after_s if isinstance(exc, Unavailable) else 1)
    if exc.status == 408:
        headers["Connection"] = "close"  # what is still to come of the body is no next request
    if isinstance(exc, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(exc, BadInput):
        return _reply(request, exc.status, exc.message, list(exc.problems), headers)
    return _reply(request, exc.status, HTTPStatus(exc.status).phrase, exc.message, headers)


def on_http_exception(request: AnyRequest, exc: HTTPException) -> Response[bytes]:
    """For what Litestar itself raises: mostly unknown routes and methods."""
    if exc.status_code >= 500:
        return on_unexpected(request, exc)
    headers = {name: value for name, value in (exc.headers or {}).items() if name.lower() == "allow"}
    detail = _DETAILS.get(exc.status_code, exc.detail)
    return _reply(request, exc.status_code, HTTPStatus(exc.status_code).phrase, detail, headers)


def on_unexpected(request: AnyRequest, exc: Exception) -> Response[bytes]:
    """A defect: counted, and logged by type and place. Not by message, which may quote what people wrote."""
    kind = type(exc).__name__
    metrics.UNEXPECTED_ERRORS.labels("request", kind).inc()
    frames = frames_of(exc)
    _LOG.error("request failed", error_type=kind, cause_type=type(exc.__cause__).__name__, frames=frames)
    return _reply(request, 500, "Internal error", "This is a defect of the service; it was logged under the request id", {})


def _reply(request: AnyRequest, status: int, error: str, detail: list[Problem] | str, headers: dict[str, str]) -> Response[bytes]:
    content = ErrorReply(error, detail, exchange_of(request).request_id)
    return Response(_ENCODER.encode(content), status_code=status, headers=headers, media_type=MediaType.JSON)


EXCEPTION_HANDLERS: dict[Any, Any] = {
    AmityError: on_amity_error,
    HTTPException: on_http_exception,
    Exception: on_unexpected,
}
