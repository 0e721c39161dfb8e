"""Which errors of the driver mean a lost connection, so that the call is tried once more on another."""

import asyncpg
import pytest

from service.repositories.failures import is_stale


@pytest.mark.parametrize(
    "lost",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
)
def test_lost_connection_is_worth_another_try(lost: Exception) -> None:
    assert is_stale(lost)


@pytest.mark.parametrize("refused", [asyncpg.UniqueViolationError("duplicate key"), ConnectionRefusedError(111, "refused")])
def test_refusal_is_not(refused: Exception) -> None:
    assert not is_stale(refused)
