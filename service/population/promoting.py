"""Moving the pointer to the live bundle: by the command, and from within a replica, which goes on serving meanwhile."""

from collections.abc import Iterable

from service.artifacts.store import Store
from service.domain import BundleRecord
from service.errors import OperatorError
from service.population.loader import LOAD_S, opened
from service.repositories.bundles import Bundles
from service.resilience import Deadline
from service.threads import ThreadDoor


def live_of(records: Iterable[BundleRecord]) -> BundleRecord | None:
    """The live one; None when none is."""
    return next((record for record in records if record.live), None)


def live_before(records: Iterable[BundleRecord]) -> str | None:
    """The bundle that a rollback makes live: of those published and not live, the last; None when there is none."""
    published = sorted((record.published_at, record.version) for record in records if record.published_at and not record.live)
    return published[-1][1] if published else None


class Promoting:
    """A bundle is verified and everyone in it read before it goes live, in a thread, which takes seconds for a million people.
    Meanwhile others may move the pointer: then it is left where they put it, since what was decided was about another bundle.
    Raises DatabaseUnavailable when PostgreSQL is away."""

    def __init__(self, store: Store, bundles: Bundles, door: ThreadDoor) -> None:
        self._store = store
        self._bundles = bundles
        self._door = door

    async def records(self) -> list[BundleRecord]:
        """All registered bundles, newest first."""
        return await self._bundles.list()

    async def live(self) -> str | None:
        """The version of the live one; None when none is."""
        record = await self._bundles.live()
        return None if record is None else record.version

    async def promote(self, version: str, instead_of: str | None) -> BundleRecord:
        """Make a bundle the live one in the place of the one that was live when that was decided (None: none was). Raises
        BundleInvalid when it cannot be served, LiveBundleMoved when another is live by now, and OperatorError when it is not
        registered; then everything is as it was."""
        await self._verify(version)
        return await self._bundles.replace(instead_of, version)

    async def rollback(self, live: str | None) -> BundleRecord:
        """Go back from the bundle that was live when that was decided to the one published before it. Raises as `promote`
        does, and OperatorError where there is none to go to or from."""
        before = live_before(await self.records())
        if live is None or before is None:
            raise OperatorError("there is no bundle that was live before this one")
        await self._verify(before)
        return await self._bundles.rollback(live, before)

    async def _verify(self, version: str) -> None:
        await self._door.call("promote", opened, self._store, version, deadline=Deadline(LOAD_S))
