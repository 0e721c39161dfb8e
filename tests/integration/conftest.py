"""What the integration tests share."""

from collections.abc import AsyncIterator

import pytest

from service.repositories.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty database of the test's own, as the service opens it."""
    opened = Database(database_url)
    yield opened
    await opened.close()
