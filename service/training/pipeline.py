"""`amity train`: read, learn, judge, write, publish."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np

from service.artifacts.store import Store
from service.domain import Profile
from service.errors import LiveBundleMoved, OperatorError, PublishRefused
from service.features.definitions import FEATURES
from service.plugins import load_rankers
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.settings import Settings
from service.telemetry import Progress
from service.training.examples import pairs_of
from service.training.learn import Learners, Lesson, Material, learn
from service.training.publish import Gate, Read, judge_gate, live_bundle, retire, write_bundle
from service.training.steps import Steps


class TrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a training. `seconds` by step, in their order; `left_out`: rankers that are not in the bundle, and why;
    `stand_in`: who ranks in the place of the default, when that is among them."""

    version: str
    published: bool
    n_people: int
    n_interactions: int
    metrics: dict[str, float]
    seconds: dict[str, float]
    left_out: dict[str, str]
    stand_in: str | None = None

    def lines(self) -> list[str]:
        """For people."""
        state = "live now" if self.published else "not published"
        lines = [f"bundle {self.version}: {state}; {self.n_people:,} people, {self.n_interactions:,} interactions"]
        for title, prefix in (("next likes", ""), ("people without history", "cold_")):
            ours, baseline = self.metrics.get(f"{prefix}ndcg20"), self.metrics.get(f"{prefix}popularity_ndcg20")
            if ours is not None and baseline is not None:
                lines.append(f"NDCG@20, {title}: {ours:.3f}; by popularity {baseline:.3f}")
        if "auc" in self.metrics:
            figures = f"AUC {self.metrics['auc']:.3f}, log-loss {self.metrics['log_loss']:.3f}"
            lines.append(f"ranker: {figures}, calibration error {self.metrics['calibration_error']:.3f}")
        lines += [f"ranker {name!r} is left out: {reason}" for name, reason in self.left_out.items()]
        if self.stand_in is not None:
            lines.append(f"requests that name no ranker are ranked by {self.stand_in!r}: the default is left out")
        return [*lines, f"{sum(self.seconds.values()):.1f} s"]


async def train(settings: Settings, database: Database, force: bool, seed: int, report: Progress) -> TrainReport:
    """Train on what the database holds, and publish unless the live bundle is better by more than the margin: the one that is
    live then, also where it went live since the first comparison.

    Raises PublishRefused when it is and `force` is not set (the new bundle stays registered), OperatorError when there is
    nobody to learn about. The work is done in the calling thread: this is a command, not a part of the service.
    """
    steps = Steps(report)
    installed = load_rankers(settings, FEATURES)
    learners = Learners(installed, settings.default_ranker, settings.fallback_ranker, seed)
    store = Store(settings.artifacts_url, settings.cache_path)
    bundles = Bundles(database.sessions)
    with steps("reading"):
        material, read = await _read(database)
    lesson = learn(material, learners, steps)
    with steps("comparison with the live bundle"):
        live = await _live(bundles)
        gate = judge_gate(material, lesson, learners, live_bundle(store, live))
    lesson = _with_gate(lesson, gate)
    with steps("writing"):
        manifest = write_bundle(store, material, read, lesson, learners, report)
        await bundles.register(manifest.version, manifest.created_at, manifest.metrics)
    while not (force or await _took_the_place(bundles, live, manifest.version, _worse(settings, gate))):
        with steps("comparison with a bundle that went live meanwhile"):
            live = await _live(bundles)
            gate = judge_gate(material, lesson, learners, live_bundle(store, live))
    if force:
        await bundles.publish(manifest.version)
    await retire(store, bundles, settings.bundles_kept)
    return TrainReport(
        version=manifest.version,
        published=True,
        n_people=manifest.n_people,
        n_interactions=manifest.n_interactions,
        metrics=manifest.metrics,
        seconds=steps.seconds,
        left_out=dict(lesson.trained.left_out),
        stand_in=settings.fallback_ranker if settings.default_ranker in lesson.trained.left_out else None,
    )


async def _live(bundles: Bundles) -> str | None:
    record = await bundles.live()
    return None if record is None else record.version


async def _took_the_place(bundles: Bundles, live: str | None, version: str, worse: str | None) -> bool:
    """Whether the bundle went live; not where another than `live`, which it was compared with, is live by now, by an operator or
    another training. Raises PublishRefused where it is `worse`."""
    if worse:
        raise PublishRefused(f"bundle {version} is not published: {worse}; `--force` publishes it still")
    try:
        await bundles.replace(live, version)
    except LiveBundleMoved:
        return False
    return True


def _worse(settings: Settings, gate: Gate) -> str | None:
    """Why the live bundle should stay; None when nothing speaks against the new one."""
    if gate.lost is not None:
        name = settings.default_ranker
        return f"the default ranker {name!r} is left out of it ({gate.lost}), and the live one has it"
    if gate.refuses(settings.publish_margin):
        return (
            f"NDCG@20 {gate.candidate:.4f} on pairs that no bundle has seen, and {gate.live:.4f} with the live one, more than "
            f"{settings.publish_margin:.0%} worse"
        )
    return None


async def _read(database: Database) -> tuple[Material, Read]:
    """The place in the feed first, so that what commits while the tables are read is read again by replicas, never missed."""
    position = await Changes(database.sessions).horizon()
    profiles: list[Profile] = []
    async for batch in Users(database.sessions).stream():
        profiles.extend(batch)
    if not profiles:
        raise OperatorError("there is nobody to learn about; import people with `amity import`, or make some with `amity demo`")
    events = await Interactions(database.sessions).load_all()
    ids = np.array([profile.id for profile in profiles], np.int64)
    material = Material(profiles, ids, pairs_of(events, ids), datetime.now(UTC).timestamp())
    return material, Read(events, position)


def _with_gate(lesson: Lesson, gate: Gate) -> Lesson:
    figures = {"gate_ndcg20": gate.candidate, "live_gate_ndcg20": gate.live}
    known = {name: value for name, value in figures.items() if math.isfinite(value)}
    return replace(lesson, metrics=lesson.metrics | known, trained=gate.trained)
