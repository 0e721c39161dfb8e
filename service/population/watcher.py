"""Follows the pointer to the live bundle: a new one is loaded beside the present one, then takes its place."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

from service.artifacts.bundle import Bundle
from service.errors import AmityError, OperatorError, StageFailed
from service.metrics import BUNDLE_CREATED
from service.population.feed import ChangeFeed
from service.population.holder import PopulationHolder
from service.population.loader import Origin, load_bundle
from service.resilience import Deadline

C = TypeVar("C")

_LOG = structlog.get_logger("amity.population")

_RETRY_S = 60.0
"""A bundle that could not be loaded is tried again this much later: its files may only have been on their way."""
_TIDY_S = 60.0


def tell_bundle(bundle: Bundle | None) -> None:
    """Tell the gauges which bundle serves, and since when there is it."""
    BUNDLE_CREATED.clear()
    if bundle is not None:
        BUNDLE_CREATED.labels(bundle.version).set(bundle.manifest.created_at.timestamp())


class BundleWatcher(Generic[C]):
    """Swaps `holder` to each bundle that goes live. `prepare` makes the companion (rankers) of a bundle; it may raise
    BundleInvalid or PluginBroken, and the present bundle goes on serving."""

    def __init__(
        self,
        origin: Origin,
        holder: PopulationHolder[C],
        feed: ChangeFeed,
        prepare: Callable[[Bundle], Awaitable[C]],
        poll_ms: int,
    ) -> None:
        self._origin = origin
        self._holder = holder
        self._feed = feed
        self._prepare = prepare
        self._poll_s = poll_ms / 1000
        self._refused: tuple[str, float] = ("", 0.0)
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        """Look at the pointer at once: the feed has told of a change."""
        self._nudged.set()

    async def run(self) -> None:
        """Watch until cancelled. While the database is away the present bundle serves on."""
        while True:
            with suppress(TimeoutError):  # nobody nudged: time for the next look
                async with asyncio.timeout(self._poll_s):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                await self.look()
            except AmityError as exc:
                _LOG.debug("live bundle cannot be looked up", reason=exc.message)

    async def look(self) -> bool:
        """Swap if another bundle is live than the one that serves; whether it was done. Raises DatabaseUnavailable."""
        live = await self._origin.bundles.live()
        if live is None or live.version == self._holder.current.bundle_version or self._was_refused(live.version):
            return False
        try:
            loaded = await load_bundle(self._origin, live.version)
            assert loaded.bundle is not None
            companion = await self._prepare(loaded.bundle)
        except (OperatorError, StageFailed) as exc:
            _LOG.error("bundle refused", bundle_version=live.version, reason=exc.message)
            self._refused = (live.version, time.monotonic())
            return False
        await self._feed.catch_up(loaded.population)
        self._holder.swap(loaded.population, companion)
        tell_bundle(loaded.bundle)
        if loaded.compared:
            self._feed.audience.lost()
        _LOG.info("bundle live", bundle_version=live.version, n_people=loaded.population.n_people)
        await self._tidy()
        return True

    async def _tidy(self) -> None:
        """Keep copies of the bundle that serves and of the one before it: else a disk fills up night by night, with the names
        and bios of people erased since."""
        replaced = self._holder.replaced
        kept = {version for version in (self._holder.current.bundle_version, replaced and replaced[0]) if version}
        try:
            await self._origin.door.call("bundle", self._origin.store.drop_copies, kept, deadline=Deadline(_TIDY_S))
        except (OSError, StageFailed) as exc:
            _LOG.warning("old copies of bundles cannot be removed", reason=str(exc))

    def _was_refused(self, version: str) -> bool:
        refused, at_s = self._refused
        return version == refused and time.monotonic() - at_s < _RETRY_S
