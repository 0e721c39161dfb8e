"""All the pages, as one router: none of them is reached but through `admit`, and what goes wrong in one becomes a page."""

from litestar import Response, Router, get
from litestar.params import FromPath

from service.console.admission import admit
from service.console.assets import serve_asset
from service.console.bundles import Bundles
from service.console.experiments import ExperimentPages
from service.console.failures import ERROR_PAGES
from service.console.market import market_page
from service.console.overview import Overview
from service.console.people import People
from service.console.performance import performance_page
from service.console.plugins import Plugins
from service.console.signing_in import SignIn, SignOut
from service.console.whys import Whys
from service.controllers.routes import AnyRequest
from service.errors import NotFound


@get("/{path:path}")
async def nowhere(request: AnyRequest, path: FromPath[str]) -> Response[bytes]:
    raise NotFound("The console has no such page.")


def console() -> Router:
    """For one application."""
    return Router(
        "/console",
        route_handlers=[
            SignIn,
            SignOut,
            serve_asset,
            Overview,
            People,
            Whys,
            performance_page,
            ExperimentPages,
            market_page,
            Plugins,
            Bundles,
            nowhere,
        ],
        before_request=admit,
        exception_handlers=ERROR_PAGES,
    )
