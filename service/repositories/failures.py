"""What the driver's errors mean to us. Nothing of SQLAlchemy or asyncpg leaves the repositories."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy import exc as sa

from service.errors import AmityError, BadInput, DatabaseUnavailable, SchemaOutdated

DRIVER_ERRORS = (
    sa.DBAPIError,
    sa.TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
    TimeoutError,
)
"""All that a lost, slow, refusing or complaining database can raise through SQLAlchemy or through the driver alone."""

_LOST = ("08", "57P")
_CONFLICTS = ("40001", "40P01")
_UNAVAILABLE = ("08", "25", "28", "3D", "40", "42501", "53", "55", "57", "58", "XX")
_OUTDATED = ("42P01", "42703", "42883", "3F000")
_BAD_VALUE = ("22", "23", "54")


@contextmanager
def translated() -> Iterator[None]:
    """Raise what a driver error means, from that error: DatabaseUnavailable, SchemaOutdated or BadInput."""
    try:
        yield
    except DRIVER_ERRORS as exc:
        raise meaning(exc) from exc


def meaning(exc: BaseException) -> AmityError:
    """The error of ours for one of DRIVER_ERRORS. Its text is for clients: it names no host, user or value."""
    cause = driver_error(exc)
    state = sqlstate(exc)
    if isinstance(cause, asyncpg.DataError) or state.startswith(_BAD_VALUE):
        field = getattr(cause, "column_name", None) or getattr(cause, "constraint_name", None) or "body"
        return BadInput.of(field, "holds a value that cannot be stored")
    if state.startswith(_OUTDATED):
        return SchemaOutdated()
    if state and not state.startswith(_UNAVAILABLE):
        return AmityError("The database refused a statement")
    return DatabaseUnavailable()


def is_stale(exc: BaseException) -> bool:
    """Whether the connection was lost, or the transaction undone by another, so that a second attempt may succeed."""
    if isinstance(exc, sa.DBAPIError) and exc.connection_invalidated:
        return True
    # InternalClientError: the server's farewell was being read when the statement was sent, and asyncpg lost its place.
    if isinstance(driver_error(exc), (ConnectionResetError, BrokenPipeError, asyncpg.InternalClientError)):
        return True
    return sqlstate(exc).startswith((*_LOST, *_CONFLICTS)) or "connection is closed" in str(exc)


def sqlstate(exc: BaseException) -> str:
    """PostgreSQL's five letters, or an empty text when the server did not say."""
    return getattr(driver_error(exc), "sqlstate", None) or ""


def driver_error(exc: BaseException) -> BaseException:
    """The error of asyncpg or of the system below SQLAlchemy's wrappers."""
    below = getattr(exc, "orig", None) or exc
    if isinstance(below, (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        return below
    return below.__cause__ or below
