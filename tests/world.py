"""A small demo population with two trained bundles, made once for a worker and cloned for each module that asks for it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from service.embedded.lease import Lease
from tests.replicas import PATIENT
from tests.servers import clone, cloned, run_home, run_now

N_PEOPLE = 300
TEMPLATE = "amity_world_template"


@dataclass(frozen=True, slots=True)
class World:
    """`older` is live, `newer` is registered and not published. `settings` are what a replica needs to serve it."""

    database_url: str
    artifacts: Path
    older: str
    newer: str
    settings: dict[str, str]

    def changed(self, **settings: str) -> dict[str, str]:
        """The settings with some in their place: `DEADLINE_MS="500"`."""
        return self.settings | {f"AMITY_{name}": value for name, value in settings.items()}


@pytest.fixture(scope="session")
def world_template(servers: Lease, template_database: str) -> tuple[Path, str, str]:
    """The bundles' folder and their two versions; the database to clone is TEMPLATE."""
    artifacts = run_home() / "world-artifacts"
    run_now(_make(clone(servers.database_url, TEMPLATE, template_database), artifacts))
    older, newer = sorted(path.name for path in artifacts.iterdir() if not path.name.startswith("."))
    return artifacts, older, newer


async def _make(database_url: str, artifacts: Path) -> None:
    """Demo people, a bundle trained on them, live, and the same once more as a newer version that is not published."""
    # Imported late: every test process reads this file, and few make a world.
    from service.artifacts.bundle import MANIFEST
    from service.artifacts.store import new_version
    from service.repositories.bundles import Bundles
    from service.repositories.database import Database
    from service.settings import Settings
    from service.training import pipeline
    from service.transfer import demo

    settings = Settings(artifacts=str(artifacts), home=artifacts.parent)
    database = Database(database_url)
    try:
        yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        request = demo.DemoRequest(n_people=N_PEOPLE, seed=20261123, reference=yesterday)
        await demo.fill(database, request, lambda *_: None)
        trained = await pipeline.train(settings, database, force=False, seed=7, report=lambda *_: None)
        newer = new_version(datetime.now(UTC) + timedelta(seconds=60), "newer")
        shutil.copytree(artifacts / trained.version, artifacts / newer)
        manifest = artifacts / newer / MANIFEST
        manifest.chmod(0o644)
        manifest.write_text(manifest.read_text().replace(trained.version, newer))
        await Bundles(database.sessions).register(newer, datetime.now(UTC), trained.metrics)
    finally:
        await database.close()


@pytest.fixture(scope="module")
def world(servers: Lease, world_template: tuple[Path, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The module's own copy of people and bundles, on an empty Valkey."""
    source, older, newer = world_template
    home = tmp_path_factory.mktemp("world")
    artifacts = home / "artifacts"
    shutil.copytree(source, artifacts)
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    with cloned(servers.database_url, "world", TEMPLATE) as database_url:
        yield World(database_url, artifacts, older, newer, settings_for(home, database_url, servers.redis_url, artifacts))


def settings_for(home: Path, database_url: str, redis_url: str, artifacts: Path) -> dict[str, str]:
    return PATIENT | {
        "AMITY_HOME": str(home),
        "AMITY_DATABASE_URL": database_url,
        "AMITY_REDIS_URL": redis_url,
        "AMITY_ARTIFACTS": str(artifacts),
        "AMITY_LOG_FORMAT": "json",
    }
