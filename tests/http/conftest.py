"""The real application on real servers, with a small population stored through the repositories."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from service.app import create_app
from service.domain import Profile
from service.logs import reset_logging
from service.repositories.database import Database
from service.repositories.users import Users
from service.settings import Settings

N_PEOPLE = 60
CITIES = (("Berlin", 52.52, 13.405), ("Potsdam", 52.4, 13.06), ("Lisbon", 38.72, -9.14))
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def person(person_id: int, **changes: Any) -> Profile:
    """Somebody who seeks anyone; ages, genders, cities and interests go round."""
    city, latitude, longitude = CITIES[person_id % 3]
    values: dict[str, Any] = {
        "id": person_id,
        "name": f"Person {person_id}",
        "age": 20 + person_id % 30,
        "gender": ("female", "male")[person_id % 2],
        "location": city,
        "latitude": latitude,
        "longitude": longitude,
        "bio": f"Likes tea number {person_id % 7}",
        "interests": ("tea", f"hobby {person_id % 5}"),
        "created_at": NOW - timedelta(days=person_id),
        "last_active_at": NOW,
    }
    return Profile(**values | changes)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole application, started and stopped in a task of its own: pytest ends a fixture in another task
    than it began in, which Litestar's lifespan does not bear."""
    before = asyncio.all_tasks()
    app = create_app(settings)
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set_result(None)
            await over.wait()

    life = asyncio.create_task(live())
    await asyncio.wait({life, started}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        await life  # raises what kept it from starting
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://amity") as client:  # type: ignore[arg-type]
            yield client
    finally:
        over.set()
        await life
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, "the application left tasks behind"


async def store(database_url: str, profiles: list[Profile]) -> None:
    database = Database(database_url)
    await Users(database.sessions).put_many(profiles)
    await database.close()


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A server that a test starts sets up logging for the whole process, on a stream that ends with the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    reset_logging()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        feed_poll_ms=20,
        deadline_ms=5000,
        database_timeout_ms=3000,
        redis_timeout_ms=2000,
    )  # a busy machine must not degrade what is under test


@pytest.fixture
async def people(database_url: str) -> list[Profile]:
    profiles = [person(i) for i in range(1, N_PEOPLE + 1)]
    await store(database_url, profiles)
    return profiles


@pytest.fixture
async def client(settings: Settings, people: list[Profile]) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(settings) as opened:
        yield opened
