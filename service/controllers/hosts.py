"""Under which names a service without keys answers: those of this machine.

Without keys it is on loopback, where any site may lead a browser by a name of its own that resolves there (DNS rebinding): to the
browser the service is then that site's, to read and to write. No page can make a browser lie about the name it asked, in `Host`.
"""

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from service.controllers.keys import Keyring, is_loopback
from service.controllers.routes import AnyRequest
from service.errors import Forbidden
from service.settings import Settings


class HostRule:
    """There is none with keys, which no other site has, nor where everyone may be served, nor for a program that holds the
    application itself: only what came by a socket of loopback is asked under which name."""

    def __init__(self, keyring: Keyring, settings: Settings) -> None:
        self._applies = keyring.is_open and not settings.allow_keyless_bind

    def admits(self, server: tuple[str, Any] | None, host: str | None) -> bool:
        """`server`: where the request came in, as ASGI has it. `host`: its header, which every browser sends."""
        if not self._applies or host is None or server is None or not is_loopback(server[0]):
            return True
        return is_loopback(_hostname(host))


def require_own_host(request: AnyRequest) -> None:
    """Raises Forbidden for what another site may have led a browser to."""
    rule: HostRule = request.app.state.hosts
    if not rule.admits(request.scope.get("server"), request.headers.get("host")):
        raise Forbidden(
            "Without API keys the service answers only under a name of this machine, as localhost or 127.0.0.1: "
            "set AMITY_API_KEYS, or AMITY_ALLOW_KEYLESS_BIND=true to serve everyone"
        )


def _hostname(host: str) -> str:
    """Of a Host header, without the port; empty for what is none."""
    with suppress(ValueError):  # brackets that do not close
        return urlsplit(f"//{host}").hostname or ""
    return ""
