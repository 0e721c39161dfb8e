"""API keys: `name:scope+scope:sha256` entries, compared in constant time, never logged."""

import hashlib
import hmac
import ipaddress
import re

import msgspec

from service.controllers.routes import AnyRequest, Scope
from service.errors import BadSetting, Forbidden, Unauthorized
from service.settings import Settings

SCOPES = ("read", "write", "admin")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ApiKey(msgspec.Struct, frozen=True):
    """`digest` is the SHA-256 of the token, 32 bytes. Scopes do not imply one another: an admin's key that also reads says so."""

    name: str
    scopes: frozenset[str]
    digest: bytes


class Keyring:
    """All the keys. Without any, everyone may do everything: the bind rule then keeps the service on loopback."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = keys

    @property
    def is_open(self) -> bool:
        return not self._keys

    def require(self, authorization: str | None, scope: Scope) -> str | None:
        """The name of the key, None when there are no keys; raises Unauthorized, or Forbidden naming the scope."""
        if self.is_open:
            return None
        key = self._find(authorization or "")
        if key is None:
            raise Unauthorized
        if scope not in key.scopes:
            raise Forbidden(f"The API key lacks the scope {scope!r}")
        return key.name

    def named(self, name: str) -> ApiKey | None:
        return next((key for key in self._keys if key.name == name), None)

    def of_token(self, token: bytes) -> ApiKey | None:
        """The key that `token` is."""
        digest = hashlib.sha256(token).digest()
        found = None
        for key in self._keys:  # every key is compared, so that time tells nothing about which one is near
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def _find(self, authorization: str) -> ApiKey | None:
        scheme, _, token = authorization.partition(" ")
        # ASGI headers are latin-1, so this gives back the bytes that were sent.
        found = self.of_token(token.strip().encode("latin-1", "replace"))
        return found if scheme.lower() == "bearer" else None


def parse_keys(text: str) -> Keyring:
    """The keys of AMITY_API_KEYS; raises BadSetting that names an entry by its place, never by its content."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    keys = tuple(_parse_entry(place, entry) for place, entry in enumerate(entries, start=1))
    if len({key.name for key in keys}) < len(keys):
        raise BadSetting("AMITY_API_KEYS gives one name to two keys")
    return Keyring(keys)


def _parse_entry(place: int, entry: str) -> ApiKey:
    parts = entry.split(":")
    where = f"AMITY_API_KEYS, entry {place}"
    if len(parts) != 3:
        raise BadSetting(f"{where}: must be name:scope+scope:sha256")
    name, scopes, digest = (part.strip() for part in parts)
    if not _NAME.fullmatch(name):
        raise BadSetting(f"{where}: the name must be 1 to 64 letters, digits, dots, dashes or underscores")
    unknown = set(scopes.split("+")) - set(SCOPES)
    if unknown:
        raise BadSetting(f"{where} ({name}): scopes are {', '.join(SCOPES)}, joined by +")
    if not _DIGEST.fullmatch(digest.lower()):
        raise BadSetting(f"{where} ({name}): the last part must be the SHA-256 of the key, 64 hexadecimal digits")
    return ApiKey(name, frozenset(scopes.split("+")), bytes.fromhex(digest))


def require_safe_bind(settings: Settings) -> None:
    """Refuse to serve without keys on an address that others can reach, unless told to in so many words."""
    if parse_keys(settings.api_keys).is_open and not settings.allow_keyless_bind and not is_loopback(settings.host):
        raise BadSetting(
            f"AMITY_HOST={settings.host} can be reached by others, and there are no API keys: "
            "set AMITY_API_KEYS, or AMITY_ALLOW_KEYLESS_BIND=true to serve everyone"
        )


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on, or to be called by, is of this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_scope(request: AnyRequest, scope: Scope) -> None:
    """Raises Unauthorized or Forbidden. Handlers ask for what only the body tells: refreshing everybody needs more than
    refreshing one."""
    keyring: Keyring = request.app.state.keyring
    keyring.require(request.headers.get("authorization"), scope)
