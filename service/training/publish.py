"""From a lesson to the live bundle: written whole, judged beside the one that serves, then pointed at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import structlog

from service.artifacts.bundle import Bundle, Manifest
from service.artifacts.store import BundleWriter, Store, new_version
from service.domain import FeedPosition, Profile
from service.errors import BundleInvalid
from service.plugins import instantiate
from service.population import snapshot
from service.population.build import StandingPairs, build
from service.population.population import Population
from service.population.spaces import Writing
from service.population.tastes import Tastes
from service.repositories.bundles import Bundles
from service.repositories.columns import InteractionTable
from service.telemetry import Progress
from service.training.evaluate import task_of
from service.training.examples import Pairs
from service.training.learn import Learners, Lesson, Material
from service.training.packing import add_ranker
from service.training.rankers import Trained
from service.training.scene import Scene, tastes_of
from service.training.split import join

UNPUBLISHED_KEPT = timedelta(days=1)
"""Time to look at a bundle that was refused, and for another training to publish what it has just written."""

_LOG = structlog.get_logger("amity.training")


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What was read of the database: every interaction, and the place in the feed before which all of it was committed."""

    events: InteractionTable
    position: FeedPosition


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """The bundle that serves, and everyone as it knows them."""

    bundle: Bundle
    population: Population


@dataclass(frozen=True, slots=True)
class Gate:
    """NDCG@20 of both bundles on the pairs that neither has seen, over the same viewers; NaN where there is none to judge.

    `trained`: the candidate's rankers, without any that failed at it. `lost`: why the candidate has no default ranker, though
    the live bundle has one.
    """

    candidate: float
    live: float
    trained: Trained
    lost: str | None = None

    def refuses(self, margin: float) -> bool:
        """Whether the candidate is worse than the live one by more than `margin` of it. What is unknown refuses nothing."""
        return self.candidate < self.live * (1.0 - margin)


def judge_gate(material: Material, lesson: Lesson, learners: Learners, live: Live | None) -> Gate:
    """The new and the live bundle, each with its own vectors and ranker, on the same people, counts and held-out pairs."""
    everyone = np.ones(len(material.ids), np.bool_)
    task = task_of(lesson.gate, join(lesson.learnt, lesson.gate), lesson.learnt, everyone)
    scene = Scene(material.profiles, lesson.learnt, material.now_s, _tastes(lesson))
    (candidate,), trained = learners.judge(scene, lesson.trained, [task])
    if live is None or live.population.tastes is None:
        return Gate(candidate.ndcg20, float("nan"), trained)
    then = scene.with_tastes(_carried(live.population, live.population.tastes, material.profiles))
    loaded = instantiate(learners.installed, live.bundle)
    rankers = {name: entry.ranker for name, entry in loaded.items() if entry.ranker is not None}
    (serving,), _ = learners.judge(then, Trained(rankers), [task])
    lost = learners.default in trained.broken and learners.default in rankers
    return Gate(candidate.ndcg20, serving.ndcg20, trained, trained.left_out[learners.default] if lost else None)


def _carried(known: Population, tastes: Tastes, profiles: list[Profile]) -> Tastes:
    """Vectors of `profiles`, in the order of ids: those known where it is the same person, content anew where it changed."""
    mutual = np.zeros((len(profiles), 2 * tastes.n_factors), np.float32)
    content = np.zeros((len(profiles), tastes.spaces["content"].n_dims), np.float32)
    for index, profile in enumerate(sorted(profiles, key=lambda person: person.id)):
        row = known.row(profile.id)
        before = known.profile(profile.id)
        same_person = before is not None and before.incarnation == profile.incarnation
        vectors = tastes.of_profile(profile, row if same_person else None, before == profile)
        for target, vector in zip((mutual, content), vectors, strict=True):
            if vector is not None:
                target[index] = vector
    return Tastes.of(mutual, content, tastes.encoder, tastes.fold_in)


def write_bundle(store: Store, material: Material, read: Read, lesson: Lesson, learners: Learners, report: Progress) -> Manifest:
    """Everyone, their vectors and the rankers as one bundle in the store. Raises BundleInvalid when it cannot be written."""
    tastes = _tastes(lesson)
    population = build(material.profiles, StandingPairs.of_table(read.events), tastes)
    created_at = datetime.now(UTC)
    # Small data trains in less than a second: the microseconds tell two bundles of one second and one content apart.
    with BundleWriter(store, new_version(created_at, created_at.isoformat())) as writer:
        snapshot.write(writer, population, tastes, Writing(learners.seed, report))
        rankers = {
            name: add_ranker(writer, learners.installed.by_name[name], arrays) for name, arrays in lesson.trained.arrays.items()
        }
        start, end = _window(lesson.learnt)
        return writer.publish(
            Manifest(
                created_at=created_at,
                window_start=start,
                window_end=end,
                seed=learners.seed,
                feed_position=read.position,
                n_people=len(material.ids),
                n_interactions=len(read.events),
                rankers=rankers,
                metrics=lesson.metrics,
            )
        )


def _tastes(lesson: Lesson) -> Tastes:
    return tastes_of(lesson.factors, lesson.words.content, lesson.encoder)


def _window(pairs: Pairs) -> tuple[datetime | None, datetime | None]:
    if not len(pairs):
        return None, None
    return datetime.fromtimestamp(pairs.time_s[0], UTC), datetime.fromtimestamp(pairs.time_s[-1], UTC)


def live_bundle(store: Store, version: str | None) -> Live | None:
    """The bundle that serves; None when none does, or when it cannot be read and so is no standard to be measured by."""
    if version is None:
        return None
    try:
        bundle = store.open(version)
        return Live(bundle, snapshot.load(bundle))
    except BundleInvalid as exc:
        _LOG.warning("live bundle cannot be compared with", bundle_version=version, reason=exc.message)
        return None


async def retire(store: Store, bundles: Bundles, n_kept: int) -> Sequence[str]:
    """Delete the bundles that nobody will go back to, with the names and bios of people erased since; their versions.

    Kept are the live one, the `n_kept` published last, and for a day what was not published. One that cannot be deleted is
    named in the log: the new bundle is live all the same.
    """
    retired = await bundles.retire(n_kept, datetime.now(UTC) - UNPUBLISHED_KEPT)
    for version in retired:
        try:
            store.delete(version)
        except OSError as exc:
            _LOG.error("bundle cannot be deleted", bundle_version=version, reason=str(exc))
    return retired
