"""Training on a real database: what is published, what is refused, and what little data makes of it."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import TrainingExamples
from amity_rankers.logistic import LogisticFactory, LogisticRanker
from msgspec import structs

from service.artifacts.store import Store
from service.domain import FeedPosition, Interaction, Kind, Profile
from service.embedded.lease import Lease
from service.errors import BundleInvalid, OperatorError, PublishRefused
from service.features.definitions import FEATURES
from service.plugins import instantiate, load_rankers
from service.population import snapshot
from service.population.promoting import Promoting, live_before, live_of
from service.repositories.bundles import Bundles
from service.repositories.changes import Changes
from service.repositories.connections import connect
from service.repositories.database import Database
from service.repositories.interactions import Interactions
from service.repositories.users import Users
from service.settings import Settings
from service.telemetry import silent
from service.threads import ThreadDoor
from service.training.examples import pairs_of
from service.training.pipeline import TrainReport, train
from service.training.split import gate_mask
from service.transfer.demo import DemoRequest, fill
from tests.servers import clone, cloned, run_now

REFERENCE = datetime(2026, 11, 23, tzinfo=UTC)
SEED = 7


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.artifacts_url, settings.cache_path)


@pytest.fixture(scope="module")
def filled(servers: Lease, template_database: str) -> str:
    """The name of a database to clone, with a small demo population."""

    async def make(database_url: str) -> None:
        database = Database(database_url)
        await fill(database, DemoRequest(n_people=300, seed=11, reference=REFERENCE), silent)
        await database.close()

    run_now(make(clone(servers.database_url, "amity_filled_template", template_database)))
    return "amity_filled_template"


@dataclass(frozen=True, slots=True)
class Trained:
    """A database to clone that has been trained on, where its bundle is, and what the training told."""

    database: str
    artifacts: Path
    report: TrainReport


@pytest.fixture(scope="module")
def trained(servers: Lease, filled: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    settings = Settings(home=tmp_path_factory.mktemp("trained"))

    async def make(database_url: str) -> TrainReport:
        database = Database(database_url)
        report = await run(settings, database)
        await database.close()
        return report

    report = run_now(make(clone(servers.database_url, "amity_trained_template", filled)))
    return Trained("amity_trained_template", Path(settings.artifacts_url), report)


@pytest.fixture
def demo_url(servers: Lease, filled: str) -> Iterator[str]:
    with cloned(servers.database_url, "demo", filled) as url:
        yield url


@pytest.fixture
async def demo(demo_url: str) -> AsyncIterator[Database]:
    """The test's own demo population."""
    database = Database(demo_url)
    yield database
    await database.close()


@pytest.fixture
def learnt_url(servers: Lease, trained: Trained, settings: Settings) -> Iterator[str]:
    shutil.copytree(trained.artifacts, settings.artifacts_url)
    with cloned(servers.database_url, "learnt", trained.database) as url:
        yield url


@pytest.fixture
async def learnt(learnt_url: str) -> AsyncIterator[Database]:
    """The same after a training, whose report is `trained.report` and whose bundle is live and where the settings say."""
    database = Database(learnt_url)
    yield database
    await database.close()


def promoting(store: Store, database: Database) -> Promoting:
    return Promoting(store, Bundles(database.sessions), ThreadDoor(1))


async def run(settings: Settings, database: Database, *, force: bool = False, seed: int = SEED) -> TrainReport:
    return await train(settings, database, force, seed, silent)


async def forget_all_but_the_gate(database: Database) -> None:
    """Leaves a database that is worse to learn from and just as good to judge by."""
    table = await Interactions(database.sessions).load_all()
    ids = np.arange(1, 301)
    pairs = pairs_of(table, ids)
    held = pairs.where(gate_mask(pairs, ids))
    kept = set(zip(ids[held.actor].tolist(), ids[held.target].tolist(), strict=True))
    connection = await connect(database.url)
    for actor, target in set(zip(table.actor.tolist(), table.target.tolist(), strict=True)) - kept:
        await connection.execute("delete from interactions where actor_id = $1 and target_id = $2", actor, target)
    await connection.close()


async def test_training_publishes_a_bundle_that_serves(
    settings: Settings, learnt: Database, store: Store, trained: Trained
) -> None:
    report = trained.report
    live = await Bundles(learnt.sessions).live()
    assert live is not None
    assert (live.version, report.published) == (report.version, True)
    bundle = store.open(report.version)
    population = snapshot.load(bundle)
    assert population.n_people == 300
    assert population.tastes is not None
    assert population.tastes.encoder is not None
    stands = await Users(learnt.sessions).viewer(1)
    assert stands is not None
    assert structs.asdict(population.relations(1)) == structs.asdict(stands[1])
    ranker = instantiate(load_rankers(settings, FEATURES), bundle)["v1"]
    assert (ranker.ranker is not None, ranker.problem) == (True, None)


async def test_manifest_says_what_was_learnt_from_and_how_good_it_is(learnt: Database, store: Store, trained: Trained) -> None:
    manifest = store.open(trained.report.version).manifest
    assert manifest.window_start is not None
    assert manifest.window_end is not None
    assert manifest.window_start < manifest.window_end < REFERENCE
    assert manifest.n_interactions == await Interactions(learnt.sessions).count()
    assert manifest.seed == SEED
    assert {"ndcg20", "recall100", "cold_ndcg20", "auc", "log_loss", "calibration_error", "gate_ndcg20"} <= set(manifest.metrics)
    live = await Bundles(learnt.sessions).live()
    assert live is not None
    assert live.metrics == manifest.metrics


async def test_feed_position_lies_between_what_was_read_and_what_comes_after(
    learnt: Database, store: Store, trained: Trained
) -> None:
    position = store.open(trained.report.version).manifest.feed_position
    changes = Changes(learnt.sessions)
    assert {change.entity for change in await changes.read(position)} <= {"bundle"}
    assert await changes.read(FeedPosition())
    like = Interaction(actor_id=1, target_id=2, kind=Kind.LIKE, occurred_at=REFERENCE)
    await Interactions(learnt.sessions).record([like])
    assert "interaction" in {change.entity for change in await changes.read(position)}


async def test_same_data_and_seed_make_the_same_files(
    settings: Settings, learnt: Database, store: Store, trained: Trained
) -> None:
    other = await run(settings, learnt)
    assert store.open(trained.report.version).manifest.files == store.open(other.version).manifest.files


async def test_worse_bundle_is_refused_yet_registered_and_published_by_force(
    settings: Settings, learnt: Database, store: Store, trained: Trained
) -> None:
    good = trained.report
    await forget_all_but_the_gate(learnt)
    with pytest.raises(PublishRefused, match=r"is not published: NDCG@20 0\.\d+ .* with the live one"):
        await run(settings, learnt)
    bundles = Bundles(learnt.sessions)
    live = await bundles.live()
    assert live is not None
    assert live.version == good.version
    refused = next(record for record in await bundles.list() if record.version != good.version)
    assert refused.published_at is None
    assert refused.version in store.versions()
    forced = await run(settings, learnt, force=True)
    live = await bundles.live()
    assert live is not None
    assert live.version == forced.version


async def test_what_went_live_while_a_training_wrote_is_compared_with_before_it_is_replaced(
    settings: Settings, learnt: Database, store: Store, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, register = trained.report, Bundles.register
    await forget_all_but_the_gate(learnt)
    worse = await run(settings, learnt, force=True)

    async def meanwhile_an_operator_goes_back(bundles: Bundles, *entry: Any) -> None:
        await register(bundles, *entry)
        await promoting(store, learnt).rollback(worse.version)

    monkeypatch.setattr(Bundles, "register", meanwhile_an_operator_goes_back)
    with pytest.raises(PublishRefused, match="with the live one"):
        await run(settings, learnt)
    live = await Bundles(learnt.sessions).live()
    assert live is not None
    assert live.version == good.version


async def test_a_training_goes_live_although_somebody_was_quicker_with_one_as_good(
    settings: Settings, learnt: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, quicker = Bundles.register, []

    async def meanwhile_another_training_ends(bundles: Bundles, *entry: Any) -> None:
        await register(bundles, *entry)
        monkeypatch.setattr(Bundles, "register", register)
        quicker.append(await run(settings, learnt))

    monkeypatch.setattr(Bundles, "register", meanwhile_another_training_ends)
    slower = await run(settings, learnt)
    records = [record for record in await Bundles(learnt.sessions).list() if record.published_at is not None]
    assert len(records) == 3
    assert live_of(records) == next(record for record in records if record.version == slower.version)
    assert live_before(records) == quicker[0].version


async def test_live_bundle_that_cannot_be_read_stops_no_training(
    settings: Settings, learnt: Database, store: Store, trained: Trained
) -> None:
    store.delete(trained.report.version)
    second = await run(settings, learnt)
    assert second.published
    assert "live_gate_ndcg20" not in second.metrics


async def test_a_bundle_without_the_default_ranker_does_not_replace_one_that_has_it(
    settings: Settings, learnt: Database, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: LogisticFactory, examples: TrainingExamples) -> LogisticRanker:
        raise ZeroDivisionError("no luck")

    good = trained.report
    assert good.stand_in is None
    monkeypatch.setattr(LogisticFactory, "train", fail)
    with pytest.raises(PublishRefused, match=r"the default ranker 'v1' is left out of it \(cannot be trained: .*no luck\)"):
        await run(settings, learnt)
    live = await Bundles(learnt.sessions).live()
    assert live is not None
    assert live.version == good.version
    forced = await run(settings, learnt, force=True)
    assert (forced.published, forced.stand_in) == (True, "heuristic")
    assert "requests that name no ranker are ranked by 'heuristic': the default is left out" in forced.lines()


async def test_damaged_bundle_is_not_promoted(settings: Settings, learnt: Database, store: Store, trained: Trained) -> None:
    first, second = trained.report, await run(settings, learnt)
    (store.folder / first.version / "people.age.npy").write_bytes(b"damaged")
    with pytest.raises(BundleInvalid, match=r"people\.age\.npy"):
        await promoting(store, learnt).promote(first.version, second.version)
    live = await Bundles(learnt.sessions).live()
    assert live is not None
    assert live.version == second.version


async def test_earlier_bundle_can_be_promoted_again(settings: Settings, learnt: Database, store: Store, trained: Trained) -> None:
    first, second = trained.report, await run(settings, learnt)
    record = await promoting(store, learnt).promote(first.version, second.version)
    assert (record.version, record.live) == (first.version, True)


async def test_bundles_before_those_kept_are_deleted_whole(
    settings: Settings, learnt: Database, store: Store, trained: Trained
) -> None:
    two = structs.replace(settings, bundles_kept=2)
    first, second, third = trained.report, await run(two, learnt), await run(two, learnt)
    assert store.versions() == [third.version, second.version]
    assert [record.version for record in await Bundles(learnt.sessions).list()] == [third.version, second.version]
    with pytest.raises(BundleInvalid):
        await promoting(store, learnt).promote(first.version, third.version)


async def test_nobody_to_learn_about_is_one_clear_line(settings: Settings, database: Database) -> None:
    with pytest.raises(OperatorError, match="nobody to learn about"):
        await run(settings, database)


async def test_people_without_interactions_get_content_vectors_and_no_ranker(
    settings: Settings, database: Database, store: Store
) -> None:
    people = [Profile(id=i, name=f"P{i}", bio=f"likes {'tea' if i % 2 else 'bees'}", created_at=REFERENCE) for i in range(1, 11)]
    await Users(database.sessions).put_many(people)
    report = await run(settings, database)
    assert report.published
    assert "too little to learn from" in report.left_out["v1"]
    known = snapshot.load(store.open(report.version))
    assert known.tastes is not None
    content = known.tastes.spaces["content"].gather(known.rows(np.array([1, 2, 3])))
    likeness = content @ content.T
    assert likeness[0, 2] > likeness[0, 1]


async def test_messages_alone_are_enough_to_train(settings: Settings, demo: Database, store: Store) -> None:
    connection = await connect(demo.url)
    await connection.execute("delete from interactions where kind <> 'like'")
    await connection.execute("update interactions set kind = 'message', family = 3, event_key = 'at:1'")
    await connection.close()
    report = await run(settings, demo)
    assert not report.left_out
    assert report.metrics["log_loss"] < report.metrics["constant_log_loss"]


async def test_steps_are_reported_and_timed(settings: Settings, demo: Database) -> None:
    told: list[tuple[str, int]] = []
    report = await train(settings, demo, False, SEED, lambda step, done, total: told.append((step, done)))
    assert ("Training: rankers", 0) in told
    assert ("Training: rankers", 1) in told
    assert list(report.seconds) == [step.removeprefix("Training: ") for step, done in told if done]
    assert any("NDCG@20" in line for line in report.lines())


@pytest.mark.slow
async def test_cold_people_of_a_demo_of_thousands_are_served_far_better_than_by_popularity(
    settings: Settings, database: Database
) -> None:
    await fill(database, DemoRequest(n_people=2000, seed=20261123, reference=REFERENCE), silent)
    figures = (await run(settings, database)).metrics
    assert figures["cold_ndcg20"] > 1.5 * figures["cold_popularity_ndcg20"]
    assert figures["cold_match_ndcg20"] > 1.5 * figures["cold_popularity_match_ndcg20"]
    assert figures["ndcg20"] > 3 * figures["popularity_ndcg20"]
    assert figures["calibration_error"] < 0.05
