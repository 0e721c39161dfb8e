"""Who is signed in, told by a cookie alone: any replica can check it, and nothing is kept of it.

`name.expires.nonce.mac`: the key's name, when the session ends (Unix seconds), a random text, and the HMAC-SHA256 of these three,
keyed by the SHA-256 of the key. So a key that is taken away ends its sessions, and only who knows the key or its entry in the
settings can make one. Without keys the cookie is a random text: there is nobody to be told apart, but forms still need a token
that another site cannot know.
"""

import hashlib
import hmac
import re
import secrets
import time

import msgspec

from service.controllers.keys import ApiKey, Keyring

COOKIE = "amity_console"
LIFE_S = 12 * 3600
_KEYLESS = re.compile(r"[A-Za-z0-9_-]{43}")
_SIGNED = re.compile(
    r"(?P<what>(?P<name>[A-Za-z0-9._-]{1,64})\.(?P<expires>[0-9]{1,12})\.[A-Za-z0-9_-]{22})\.(?P<mac>[0-9a-f]{64})"
)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of the key; None where there are no keys. `is_new`: the browser does not have `cookie` yet."""

    name: str | None
    cookie: str
    secret: bytes
    is_new: bool = False

    @property
    def csrf(self) -> str:
        """What every form of this session bears, and no other site can know."""
        return self.mac("csrf", self.cookie)

    def mac(self, label: str, text: str) -> str:
        """Proves that we wrote `text`, for this session."""
        return _mac(self.secret, label, f"{self.cookie} {text}")


def begin(key: ApiKey) -> Session:
    """A session of somebody who has shown the key."""
    signed = f"{key.name}.{int(time.time()) + LIFE_S}.{secrets.token_urlsafe(16)}"
    return Session(name=key.name, cookie=f"{signed}.{_mac(key.digest, 'session', signed)}", secret=key.digest, is_new=True)


def resume(keyring: Keyring, cookie: str | None) -> Session | None:
    """The session of a cookie; None for one that is not ours, has ended, or whose key is gone or no admin's any more. Without
    keys there always is one."""
    if keyring.is_open:
        return _keyless(cookie)
    found = _SIGNED.fullmatch(cookie or "")
    if cookie is None or found is None:
        return None
    key = keyring.named(found["name"])
    if key is None or "admin" not in key.scopes:
        return None
    if not hmac.compare_digest(found["mac"], _mac(key.digest, "session", found["what"])) or int(found["expires"]) <= time.time():
        return None
    return Session(name=key.name, cookie=cookie, secret=key.digest)


def _keyless(cookie: str | None) -> Session:
    if cookie is not None and _KEYLESS.fullmatch(cookie):
        return Session(name=None, cookie=cookie, secret=cookie.encode())
    fresh = secrets.token_urlsafe(32)
    return Session(name=None, cookie=fresh, secret=fresh.encode(), is_new=True)


def _mac(secret: bytes, label: str, text: str) -> str:
    return hmac.new(secret, f"amity console {label} {text}".encode(), hashlib.sha256).hexdigest()
