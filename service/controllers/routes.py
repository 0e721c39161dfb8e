"""What a route promises, said once: `shell` admits by it, the handler decodes by it, and the schema shows it."""

import asyncio
from typing import Any, Literal, TypeVar

import msgspec
from litestar import MediaType, Request, Response

from service.controllers.decoding import decode_body
from service.controllers.queries import decode_query
from service.errors import BadInput, BodyTooLarge, BodyTooSlow, MalformedBody, UnsupportedMedia

S = TypeVar("S", bound=msgspec.Struct)
AnyRequest = Request[Any, Any, Any]

Scope = Literal["read", "write", "admin"]
MAX_BODY_BYTES = 1024 * 1024
BODY_S = 30.0
"""For a whole body to come, however small its pieces: 35 kB/s for the largest."""
MAX_ID = 2**63 - 1

_ENCODER = msgspec.json.Encoder()


class RouteSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`replies` holds each status of success with the Struct of its body (None: no body); `errors` the statuses a caller
    may meet besides those that every route shares."""

    summary: str
    scope: Scope | None
    replies: dict[int, Any]
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    errors: tuple[int, ...] = ()
    description: str = ""


def spec(**fields: Any) -> dict[str, Any]:
    """The `opt` of a route handler."""
    return {"spec": RouteSpec(**fields)}


def spec_of(opt: dict[str, Any]) -> RouteSpec | None:
    return opt.get("spec")


def reply(content: Any, status: int = 200) -> Response[bytes]:
    """A JSON answer of one of our Structs."""
    return Response(_ENCODER.encode(content), status_code=status, media_type=MediaType.JSON)


def query_of(request: AnyRequest, into: type[S]) -> S:
    return decode_query(request.scope["query_string"], into)


def person_id(text: str, field: str = "user_id") -> int:
    """The id in a path; raises BadInput on `field` for what is no whole number from 1 to 2^63-1."""
    if not (text.isascii() and text.isdigit()):
        raise BadInput.of(field, "must be a whole number")
    # 19 digits hold 2^63-1; int() of a text of thousands of digits takes milliseconds or raises.
    number = int(text) if len(text) <= 19 else MAX_ID + 1
    if not 1 <= number <= MAX_ID:
        raise BadInput.of(field, "must be at least 1" if number < 1 else f"must be at most {MAX_ID}")
    return number


async def body_of(request: AnyRequest, into: type[S]) -> S:
    """The body as `into`. Raises UnsupportedMedia, BodyTooLarge, BodyTooSlow, MalformedBody or BadInput."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (media_type.startswith("application/") and media_type.endswith("+json")):
        raise UnsupportedMedia
    return decode_body(await read_body(request), into)


async def read_body(request: AnyRequest, at_most: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as it is known to be, by its header or else by what has come, BodyTooSlow after
    `BODY_S`, and MalformedBody where the caller left."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > at_most:
        raise BodyTooLarge(_too_large(at_most))
    try:
        async with asyncio.timeout(BODY_S):
            return await _gathered(request, at_most)
    except TimeoutError as exc:
        raise BodyTooSlow(f"The body did not come whole within {BODY_S:g} s") from exc


async def _gathered(request: AnyRequest, at_most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise MalformedBody("The body ended before it was whole")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > at_most:
            raise BodyTooLarge(_too_large(at_most))
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(at_most: int) -> str:
    return f"The body is larger than {f'{at_most >> 20} MiB' if at_most >> 20 else f'{at_most >> 10} KiB'}"
