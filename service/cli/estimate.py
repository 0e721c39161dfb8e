"""`amity experiments estimate`: a ranker judged by the draws of exploration slots, before anybody is served by it."""

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from amity_rankers.contract import RankingBatch
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.artifacts.store import Store
from service.cli.database import in_database
from service.cli.experiment_commands import DAYS, MOST_DRAWS
from service.cli.output import answer
from service.domain_experiments import LoggedDraw, Window
from service.errors import OperatorError, PluginBroken
from service.experiments import estimates
from service.experiments.estimates import EstimateReport, Heading, LogShare, Scored
from service.experiments.offpolicy import Draws
from service.features.definitions import FEATURES
from service.plugins import EntryPoints, Installed, InstalledRanker, LoadedRanker, instantiate, load_rankers, registered
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.repositories.logged import Logged
from service.settings import Settings
from service.telemetry import Progress
from service.training.rankers import scores_of

SEED = 7


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which ranker, of which bundle (None: the live one), measured against which (None: the default), on how much."""

    algorithm: str
    against: str | None = None
    bundle: str | None = None
    days: float = DAYS
    in_sample: bool = False
    clip: float | None = None
    most_draws: int = MOST_DRAWS
    seed: int = SEED


def show(settings: Settings, question: Question, as_json: bool) -> None:
    """Answer on stdout."""
    result = in_database(settings, lambda database, report: ask(settings, database, question, report))
    answer(result, as_json, result.lines())


async def ask(
    settings: Settings, database: Database, question: Question, report: Progress, entry_points: EntryPoints = registered
) -> EstimateReport:
    """The estimate. Raises OperatorError (BundleInvalid, PluginBroken) when a ranker is unknown, or cannot be loaded or score."""
    against = question.against or settings.default_ranker
    bundle = await _bundle(settings, Bundles(database.sessions), question.bundle)
    # All that are installed: whoever is asked about may be one that replicas do not load yet.
    installed = load_rankers(msgspec.structs.replace(settings, rankers=""), FEATURES, entry_points)
    rankers = {name: _loaded(installed, bundle, name) for name in dict.fromkeys((question.algorithm, against))}
    window, notes = window_of(question, bundle, rankers)
    logged, gathered = Logged(database.sessions), _Gathered(rankers)
    counts = await logged.counts(window)
    async with aclosing(logged.draws(window, question.most_draws)) as batches:  # closed at once where a ranker cannot score
        async for batch in batches:
            for draw in batch:
                gathered.take(draw)
            report("draws", len(gathered.kept), None)
    heading = Heading(
        algorithm=question.algorithm,
        against=against,
        bundle_version=None if bundle is None else bundle.version,
        since=window.since,
        until=window.until,
        in_sample=question.in_sample,
    )
    share = LogShare(explored=counts.explored, told=counts.told, used=len(gathered.kept))
    notes += gathered.notes()
    return estimates.report(heading, share, gathered.scored(), question.clip, question.seed, tuple(notes))


def window_of(question: Question, bundle: Bundle | None, rankers: dict[str, LoadedRanker]) -> tuple[Window, list[str]]:
    """The time that counts, and what is to be said of it: a ranker must not be judged by what it learnt from."""
    until = datetime.now(UTC)
    since = until - timedelta(days=question.days)
    learnt = " and ".join(name for name, ranker in rankers.items() if ranker.needs_bundle)
    if bundle is None or not learnt or bundle.manifest.created_at <= since:
        return Window(since, until), []
    before = f"slates before {bundle.manifest.created_at:%Y-%m-%d %H:%M} UTC"
    if question.in_sample:
        return Window(since, until), [f"{learnt} may have learnt from {before}, and look better than they are on them."]
    hint = "`--bundle` takes an older one, `--in-sample` counts them all the same"
    return Window(bundle.manifest.created_at, until), [f"{learnt} may have learnt from {before}, which are left out: {hint}."]


async def _bundle(settings: Settings, bundles: Bundles, version: str | None) -> Bundle | None:
    if version is None:
        record = await bundles.live()
        version = None if record is None else record.version
    return None if version is None else Store(settings.artifacts_url, settings.cache_path).open(version)


def _loaded(installed: Installed[InstalledRanker], bundle: Bundle | None, name: str) -> LoadedRanker:
    problems = {problem.name: problem.reason for problem in installed.problems}
    if name in problems:
        raise OperatorError(f"ranker {name!r} cannot be used: {problems[name]}")
    if name not in installed.by_name:
        raise OperatorError(f"no ranker named {name!r} is installed; there are {', '.join(sorted(installed.by_name))}")
    ranker = instantiate(Installed({name: installed.by_name[name]}, ()), bundle)[name]
    if ranker.ranker is None:
        raise OperatorError(f"ranker {name!r} cannot be used: {ranker.problem}")
    return ranker


class _Gathered:
    """Draws as they come, scored by each ranker, and those that a ranker cannot score for want of features."""

    def __init__(self, rankers: dict[str, LoadedRanker]) -> None:
        self._rankers = {name: (one.ranker, one.required_features) for name, one in rankers.items() if one.ranker is not None}
        self._wanted = {feature for one in rankers.values() for feature in one.required_features}
        self._scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in rankers}
        self._features: list[NDArray[np.float32]] = []
        self._lacking: Counter[str] = Counter()
        self.kept: list[LoggedDraw] = []

    def take(self, draw: LoggedDraw) -> None:
        """Score one draw. Raises PluginBroken when a ranker cannot."""
        if lacking := self._wanted.difference(draw.names):
            self._lacking.update(lacking)
            return
        for name, (ranker, names) in self._rankers.items():
            features = draw.features[:, [draw.names.index(feature) for feature in names]]
            batch = RankingBatch(draw.viewer_id, draw.ids, names, np.ascontiguousarray(features))
            try:
                self._scores[name].append(scores_of(ranker, batch))
            except PluginBroken as exc:
                raise PluginBroken(f"ranker {name!r} {exc}") from exc
        self._features.append(_aligned(draw))
        self.kept.append(msgspec.structs.replace(draw, names=(), features=_NONE))

    def scored(self) -> Scored:
        """All of them, one after another."""
        draws, none = self.kept, np.zeros(0, np.bool_)
        return Scored(
            draws=Draws(
                viewer=np.array([draw.viewer_id for draw in draws], np.int64),
                starts=np.cumsum([0, *(len(draw.ids) for draw in draws)], dtype=np.int64),
                ids=np.concatenate([_NO_IDS, *(draw.ids for draw in draws)]),
                drawn=np.concatenate([none, *(draw.drawn for draw in draws)]),
                features=np.concatenate([np.zeros((0, len(FEATURES)), np.float32), *self._features]),
            ),
            liked=np.concatenate([none, *(draw.liked for draw in draws)]),
            matched=np.concatenate([none, *(draw.matched for draw in draws)]),
            scores={name: np.concatenate([_NONE, *scores]) for name, scores in self._scores.items()},
        )

    def notes(self) -> list[str]:
        """What the log lacks, in words."""
        lacking = [f"{name} ({n:,})" for name, n in sorted(self._lacking.items())]
        return [f"draws were left out of which features were not written down: {', '.join(lacking)}."] if lacking else []


_NONE = np.zeros(0, np.float32)
_NO_IDS = np.zeros(0, np.int64)


def _aligned(draw: LoggedDraw) -> NDArray[np.float32]:
    """The features of a draw in the order of FEATURES, float32 (s, f); NaN where one was not written down."""
    aligned = np.full((len(draw.ids), len(FEATURES)), np.nan, np.float32)
    for place, name in enumerate(FEATURES):
        if name in draw.names:
            aligned[:, place] = draw.features[:, draw.names.index(name)]
    return aligned
