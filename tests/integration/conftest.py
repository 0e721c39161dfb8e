"""What the integration tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.repositories.database import Database
from tests.integration.population_world import World


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty database of the test's own, as the service opens it."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    """That database, a store of bundles, and populations out of both."""
    return World(database, tmp_path)
