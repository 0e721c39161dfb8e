"""What every route stands in: errors in one shape, keys, refused parameters, and the outermost layer that observes."""

from collections.abc import Sequence
from typing import Any, cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from service.controllers.exchange import Observed
from service.controllers.failures import EXCEPTION_HANDLERS
from service.controllers.keys import parse_keys, scope_guard
from service.controllers.routes import refuse_unknown_parameters
from service.settings import Settings


def shell(settings: Settings, handlers: Sequence[Any], provided: Sequence[str] = (), lifespan: Sequence[Any] = ()) -> Litestar:
    """An application of these handlers. `provided` names what they get injected: attributes of the state, which the lifespan
    sets. Raises BadSetting for keys that cannot be read."""
    app = Litestar(
        route_handlers=list(handlers),
        dependencies={name: Provide(_from_state(name), sync_to_thread=False) for name in provided},
        exception_handlers=EXCEPTION_HANDLERS,
        guards=[scope_guard],
        before_request=refuse_unknown_parameters,
        lifespan=list(lifespan),
        state=State({"keyring": parse_keys(settings.api_keys), "settings": settings}),
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = cast(Any, Observed(cast(Any, app.asgi_handler), settings.trace_ratio))
    return app


def _from_state(name: str) -> Any:
    def provide(state: State) -> Any:
        return state[name]

    return provide
