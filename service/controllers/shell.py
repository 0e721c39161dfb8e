"""What every route stands in: errors in one shape, keys, refused parameters, the short way of recommendations, and the outermost
layer that observes."""

from collections.abc import Sequence
from typing import Any, cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from service.controllers.early import EarlyAnswers
from service.controllers.exchange import Observed
from service.controllers.failures import EXCEPTION_HANDLERS
from service.controllers.hosts import HostRule, require_own_host
from service.controllers.hot import HotPath
from service.controllers.keys import parse_keys, require_scope
from service.controllers.queries import refuse_query
from service.controllers.routes import AnyRequest, spec_of
from service.settings import Settings


def shell(settings: Settings, handlers: Sequence[Any], provided: Sequence[str] = (), lifespan: Sequence[Any] = ()) -> Litestar:
    """An application of these handlers. `provided` names what they get injected: attributes of the state, which the lifespan
    sets. Raises BadSetting for keys that cannot be read."""
    keyring = parse_keys(settings.api_keys)
    hosts = HostRule(keyring, settings)
    app = Litestar(
        route_handlers=list(handlers),
        dependencies={name: Provide(_from_state(name), sync_to_thread=False) for name in provided},
        exception_handlers=EXCEPTION_HANDLERS,
        before_request=_admit,
        lifespan=list(lifespan),
        state=State({"keyring": keyring, "hosts": hosts, "settings": settings}),
        openapi_config=None,
        logging_config=None,
    )
    hot = HotPath(cast(Any, app.asgi_handler), keyring, hosts, lambda: app.state.get("orchestrator"))
    app.asgi_handler = cast(Any, Observed(hot, settings.trace_ratio))
    app.state.early = EarlyAnswers(hot, settings.trace_ratio)
    return app


async def _admit(request: AnyRequest) -> None:
    """Before each handler: for one with a scope a name that is ours, and the scope; for one without a query no parameter at all.

    Async, since Litestar runs sync hooks in a thread (0.1 ms); and no guard, for which Litestar copies the handler (30 µs).
    """
    route = spec_of(request.route_handler.opt)
    if route is not None and route.scope is not None:
        require_own_host(request)
        require_scope(request, route.scope)
    if request.scope["query_string"] and (route is None or route.query is None):
        refuse_query(request.scope["query_string"])


def _from_state(name: str) -> Any:
    def provide(state: State) -> Any:
        return state[name]

    return provide
