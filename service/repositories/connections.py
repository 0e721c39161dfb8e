"""One connection to PostgreSQL: its URL, how it is opened and given up, and what to tell operators when it fails."""

import asyncio
import contextlib
from urllib.parse import parse_qs, urlsplit

import asyncpg

from service.errors import AmityError, BadSetting, DatabaseUnavailable
from service.repositories.failures import DRIVER_ERRORS, driver_error, meaning, sqlstate
from service.repositories.revisions import signature

_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_GOODBYE_S = 1.0
_REASONS = {
    "28P01": "the password is wrong",
    "28000": "the server does not admit this user from here",
    "3D000": "there is no such database",
    "53300": "the server has no connection left",
    "57P03": "the server is starting up or shutting down",
    "42501": "this user may not do that",
}


class PromptConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose end nobody waits for.

    SQLAlchemy closes a connection whose call was cancelled by `close(timeout=2)`, within the cancelled call: on a server that
    hangs, a deadline of 0.15 s then took 2.15 s. Here the goodbye, which also makes the server stop the abandoned statement,
    goes on behind.
    """

    leaving: set[asyncio.Task[None]]
    """Goodbyes that go on, of all connections of a Database, so that it can wait for them."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the signature is asyncpg's
        """Close in order; when a bound is given, as SQLAlchemy does when it terminates, behind the caller's back."""
        if timeout is None:
            await self._leave()
        else:
            self.leave()

    def leave(self) -> None:
        """Say goodbye behind the caller's back."""
        goodbye = asyncio.create_task(self._leave())
        self.leaving.add(goodbye)
        goodbye.add_done_callback(self.leaving.discard)

    async def _leave(self) -> None:
        with contextlib.suppress(*DRIVER_ERRORS):  # asyncpg has cut the connection then, which is all that is left to do
            await super().close(timeout=_GOODBYE_S)


async def connect(url: str, timeout_s: float | None = 10.0) -> PromptConnection:
    """One connection of one's own, beside the pool."""
    bound = {} if timeout_s is None else {"timeout": timeout_s}
    settings = {"application_name": signature(), "timezone": "UTC"}
    connection: PromptConnection = await asyncpg.connect(
        dsn(url),
        connection_class=PromptConnection,
        command_timeout=timeout_s,
        max_cached_statement_lifetime=0,  # after 300 s asyncpg prepares anew and drops the old one, which nothing bounds
        server_settings=settings,
        **bound,
    )
    connection.leaving = set()
    return connection


def dsn(url: str) -> str:
    """The URL as asyncpg takes it; raises BadSetting, without repeating the URL, which may hold a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise BadSetting("the database URL must begin with postgresql://")
    try:
        _ = urlsplit(url).port
    except ValueError as exc:
        raise BadSetting("the database URL cannot be read: its host or port is malformed") from exc
    return f"postgresql://{rest}"


def place(url: str) -> str:
    """Where a URL leads, for messages: host and database, never user or password."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = parts.hostname or query.get("host", ["localhost"])[0]
    port = f":{parts.port}" if parts.port else ""
    return f"{host}{port}, database {parts.path.lstrip('/') or 'of the user'!s}"


def explained(url: str, exc: BaseException) -> AmityError:
    """The error of ours for a failed connection, with place and reason in one line for operators."""
    translated = meaning(exc)
    if not isinstance(translated, DatabaseUnavailable):
        return translated
    cause = driver_error(exc)
    known = _REASONS.get(sqlstate(exc))
    if known is None and isinstance(cause, (TimeoutError, asyncio.TimeoutError)):
        known = "no answer in time"
    reason = known or (str(cause).splitlines() or [type(cause).__name__])[0]
    return DatabaseUnavailable(f"cannot use PostgreSQL at {place(url)}: {reason}")
