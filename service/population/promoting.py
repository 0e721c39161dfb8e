"""Moving the pointer to the live bundle: by the command, and from within a replica, which goes on serving meanwhile."""

from collections.abc import Iterable

from service.artifacts.store import Store
from service.domain import BundleRecord
from service.population.loader import LOAD_S, opened
from service.repositories.bundles import Bundles
from service.resilience import Deadline
from service.threads import ThreadDoor


def live_of(records: Iterable[BundleRecord]) -> BundleRecord | None:
    """The live one; None when none is."""
    return next((record for record in records if record.live), None)


def live_before(records: Iterable[BundleRecord]) -> str | None:
    """The bundle that a rollback makes live: the one published before the last; None when there is none."""
    published = sorted((record.published_at, record.version) for record in records if record.published_at)
    return published[-2][1] if len(published) > 1 else None


class Promoting:
    """A bundle is verified and everyone in it read before it goes live, in a thread, which takes seconds for a million people.
    Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, store: Store, bundles: Bundles, door: ThreadDoor) -> None:
        self._store = store
        self._bundles = bundles
        self._door = door

    async def records(self) -> list[BundleRecord]:
        """All registered bundles, newest first."""
        return await self._bundles.list()

    async def promote(self, version: str) -> BundleRecord:
        """Make a bundle the live one. Raises BundleInvalid when it cannot be served, and OperatorError when it is not
        registered; then everything is as it was."""
        await self._verify(version)
        return await self._bundles.publish(version)

    async def rollback(self) -> BundleRecord:
        """Make the bundle live that was live before. Raises as `promote` does."""
        version = live_before(await self.records())
        if version is not None:
            await self._verify(version)
        return await self._bundles.rollback()

    async def _verify(self, version: str) -> None:
        await self._door.call("promote", opened, self._store, version, deadline=Deadline(LOAD_S))
