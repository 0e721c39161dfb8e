"""All the pages, as one router: none of them is reached but through `admit`, and what goes wrong in one becomes a page."""

from litestar import Response, Router, get
from litestar.params import FromPath

from service.console.admission import admit
from service.console.assets import serve_asset
from service.console.failures import ERROR_PAGES
from service.console.frame import page
from service.console.signing_in import SignIn, SignOut
from service.controllers.routes import AnyRequest
from service.errors import NotFound


@get("/")
async def overview(request: AnyRequest) -> Response[bytes]:
    return page(request, "overview.html")


@get("/{path:path}")
async def nowhere(request: AnyRequest, path: FromPath[str]) -> Response[bytes]:
    raise NotFound("The console has no such page.")


def console() -> Router:
    """For one application."""
    return Router(
        "/console",
        route_handlers=[SignIn, SignOut, serve_asset, overview, nowhere],
        before_request=admit,
        exception_handlers=ERROR_PAGES,
    )
