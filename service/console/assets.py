"""The style, the scripts and the icon, each under a path that changes with its content, so that browsers keep them for ever."""

import hashlib
from importlib.resources import files

from litestar import Response, get
from litestar.params import FromPath

from service.errors import NotFound

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


def _read() -> dict[str, bytes]:
    folder = files("service.console").joinpath("static")
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES}


_CONTENTS = _read()
_DIGESTS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _CONTENTS.items()}


def asset(name: str) -> str:
    """The path of an asset. Raises KeyError for one that is not there."""
    return f"/console/static/{_DIGESTS[name]}/{name}"


@get("/static/{digest:str}/{name:str}", opt={"open": True})
async def serve_asset(digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """An asset. One of another release, which a replica of that release would have, is no longer or not yet here: a 404, which
    nobody keeps."""
    if _DIGESTS.get(name) != digest:
        raise NotFound
    headers = {"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}
    return Response(_CONTENTS[name], media_type=_TYPES[name.rpartition(".")[2]], headers=headers)
