"""Everything that a replica of benchmarks.million serves: a database full of people, and a bundle of them that is live.

    AMITY_DATABASE_URL=.. AMITY_HOME=.. python -m benchmarks.million_prepare FOLDER --people N

People are those of benchmarks.people, moved in time so that the newest joined yesterday. Their interactions are of people who act
and are looked at as unevenly as real ones, like whom their vectors favour, and are answered half the time. Vectors are the
synthetic ones: training on millions takes an hour and would tell nothing about the time of a request. All else that a
bundle holds is trained on a sample of the same people: the encoder of profiles, the step by which tastes are folded in, and every
ranker that learns.
"""

from service.bootstrap import prepare as prepare_process

prepare_process(None)

import argparse  # noqa: E402
import asyncio  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from datetime import UTC, datetime, timedelta  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from amity_rankers.contract import TrainingExamples  # noqa: E402
from msgspec.structs import replace  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks import people as crowds  # noqa: E402
from benchmarks.people import CITIES, GENDERS, INTERESTS, N_FACTORS, NOW_S, SEEKS, People  # noqa: E402
from service.artifacts.bundle import Manifest, RankerEntry  # noqa: E402
from service.artifacts.store import BundleWriter, Store, new_version  # noqa: E402
from service.domain import FeedPosition, Filters, Profile  # noqa: E402
from service.features.assemble import assemble  # noqa: E402
from service.features.content import ContentEncoder  # noqa: E402
from service.features.definitions import FEATURES  # noqa: E402
from service.plugins import InstalledRanker, load_rankers  # noqa: E402
from service.population import bits, snapshot  # noqa: E402
from service.population.build import StandingPairs  # noqa: E402
from service.population.columns import Columns  # noqa: E402
from service.population.directory import Directory  # noqa: E402
from service.population.foldin import FoldIn, Weights  # noqa: E402
from service.population.population import Base, Population  # noqa: E402
from service.population.profiles import ProfileBytes, encode  # noqa: E402
from service.population.spaces import Writing  # noqa: E402
from service.population.standing import LIKED, PASSED  # noqa: E402
from service.population.table import STORED, Interests  # noqa: E402
from service.population.tastes import Tastes  # noqa: E402
from service.population.vocabulary import Vocabularies  # noqa: E402
from service.repositories import migrate  # noqa: E402
from service.repositories.bundles import Bundles  # noqa: E402
from service.repositories.changes import Changes  # noqa: E402
from service.repositories.database import Database  # noqa: E402
from service.settings import Settings, load  # noqa: E402
from service.telemetry import silent  # noqa: E402
from service.training.content import fit_words, ridge  # noqa: E402
from service.training.factors import LIKE_CONFIDENCE, PASS_CONFIDENCE, REGULARISATION  # noqa: E402
from service.training.packing import add_ranker, pack_ranker, train_ranker  # noqa: E402
from service.transfer import importer  # noqa: E402

Ids = NDArray[np.int64]

SEED = 7
_FIRST_LOOKS = 2
"""A person, on average; half of them are answered: three opinions given and three received."""
_LIKE_SHARE = 0.3
_DAY_S = 86_400.0
_ROWS_AT_ONCE = 100_000
_ASKED, _LEAST_ELIGIBLE = 40_000, 4_000
_TAUGHT_PEOPLE = 20_000
_VIEWERS, _LOOKS_EACH = 400, 60


@dataclass(frozen=True, slots=True, eq=False)
class Opinions:
    """Who said what of whom, each ordered pair once: `actor`, `target` int64 (m,) rows of people, `liked` bool (m,)."""

    actor: Ids
    target: Ids
    liked: NDArray[np.bool_]


def make(folder: Path, n: int, settings: Settings) -> None:
    """Fill the empty database of these settings, and make a bundle of what is in it live."""
    crowd = crowds.make(folder / "people", n, SEED, _tell)
    shift_s = round((time.time() - NOW_S) / _DAY_S) * _DAY_S
    profiles = _moved(crowd, timedelta(seconds=shift_s))
    said = opinions(crowd)
    _write_files(folder, crowd, profiles, said)
    position = asyncio.run(_fill(folder, settings))
    _tell("database: filled")
    population = _population(crowd, profiles, said, shift_s)
    np.save(folder / "viewers.npy", viewers(population))
    manifest = _publish(settings, crowd, population, (len(said.actor), position))
    asyncio.run(_point(settings, manifest))
    _tell(f"bundle {manifest.version}: live")


def opinions(crowd: People) -> Opinions:
    """What people of these vectors say of some others. `_LIKE_SHARE` of all first looks end in a like: those whom the viewer's
    tastes favour most, some of it luck; answers likewise."""
    n, rng = len(crowd), np.random.default_rng((SEED, 11))
    m = _FIRST_LOOKS * n
    actor, target = (_uneven(n, m, spread, rng) for spread in (1.0, 0.7))
    answered = rng.random(m) < 0.5
    actor, target = np.concatenate((actor, target[answered])), np.concatenate((target, actor[answered]))
    _, first = np.unique(actor * n + target, return_index=True)
    first = np.sort(first[(actor != target)[first]])
    actor, target = actor[first], target[first]
    vectors = crowd["mutual"]
    fancy = np.empty(len(actor), np.float32)
    for start in range(0, len(actor), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        fancy[part] = np.einsum("ij,ij->i", vectors[actor[part], N_FACTORS:], vectors[target[part], :N_FACTORS])
    fancy += rng.normal(0, fancy.std(), len(fancy)).astype(np.float32)
    return Opinions(actor, target, fancy > np.quantile(fancy, 1 - _LIKE_SHARE))


def viewers(population: Population) -> Ids:
    """Ids, by lot, of people for whom the sources find as many as a pool holds, whatever they have in common."""
    rng, found = np.random.default_rng((SEED, 14)), []
    for row in rng.permutation(population.columns.n)[:_ASKED].tolist():
        viewer = population.base_profiles.get(row)
        if bits.count(population.passing_base(viewer, Filters(), 0.0)) >= _LEAST_ELIGIBLE:
            found.append(viewer.id)
    _tell(f"viewers: {len(found):,} of {min(_ASKED, population.columns.n):,} may see {_LEAST_ELIGIBLE:,} or more")
    return np.array(found, np.int64)


def _uneven(n: int, m: int, spread: float, rng: np.random.Generator) -> Ids:
    """m of n rows, some far more often than others."""
    upto = np.cumsum(rng.lognormal(0, spread, n))
    return np.asarray(np.searchsorted(upto, rng.random(m) * upto[-1]), np.int64)


def _moved(crowd: People, by: timedelta) -> ProfileBytes:
    def later(profile: Profile) -> bytes:
        active = profile.last_active_at
        return encode(replace(profile, created_at=profile.created_at + by, last_active_at=active and active + by))

    return ProfileBytes.of(later(crowd.profiles.get(row)) for row in range(len(crowd)))


def _write_files(folder: Path, crowd: People, profiles: ProfileBytes, said: Opinions) -> None:
    """What `amity import` reads."""
    paused = ~np.asarray(crowd["active"], np.bool_)
    _write(folder / "people.parquet", (_people_frame(profiles, paused, start) for start in range(0, len(crowd), _ROWS_AT_ONCE)))
    rng, ids = np.random.default_rng((SEED, 12)), np.asarray(crowd["id"])
    when_s = time.time() - rng.uniform(0, 60, len(said.actor)) * _DAY_S
    frame = pl.DataFrame(
        {
            "actor_id": ids[said.actor],
            "target_id": ids[said.target],
            "kind": np.where(said.liked, "like", "pass"),
            "occurred_at": pl.Series((when_s * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC")),
        }
    )
    _write(folder / "interactions.parquet", frame.iter_slices(_ROWS_AT_ONCE))


def _people_frame(profiles: ProfileBytes, paused: NDArray[np.bool_], start: int) -> pl.DataFrame:
    some = [profiles.get(row) for row in range(start, min(start + _ROWS_AT_ONCE, len(profiles)))]
    plain = ("id", "name", "age", "gender", "location", "latitude", "longitude", "seeks_min_age", "seeks_max_age", "seeks_max_km")
    columns: dict[str, Any] = {name: [getattr(profile, name) for profile in some] for name in plain}
    for name in ("interests", "seeks_genders"):
        columns[name] = [";".join(getattr(profile, name)) for profile in some]
    for name in ("created_at", "last_active_at"):
        columns[name] = pl.Series([getattr(profile, name) for profile in some], dtype=pl.Datetime("us", "UTC"))
    columns["status"] = np.where(paused[start : start + len(some)], "paused", "active")
    return pl.DataFrame(columns, infer_schema_length=None)


def _write(path: Path, frames: Iterator[pl.DataFrame]) -> None:
    writer: pq.ParquetWriter | None = None
    for frame in frames:
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table.cast(writer.schema))
    if writer is not None:
        writer.close()


async def _fill(folder: Path, settings: Settings) -> FeedPosition:
    """Import both files; where the change feed stands afterwards."""
    await migrate.upgrade(settings.database_url)
    database = Database(settings.database_url, pool_size=2)
    try:
        wanted = importer.ImportRequest(people=folder / "people.parquet", interactions=folder / "interactions.parquet")
        report = await importer.run(database, wanted, silent)
        if not report.ok:
            raise RuntimeError(f"{report.rejected} rows were refused")
        return await Changes(database.sessions).horizon()
    finally:
        await database.close()


def _population(crowd: People, profiles: ProfileBytes, said: Opinions, shift_s: float) -> Population:
    ids = np.array(crowd["id"])
    standing = np.where(said.liked, LIKED, PASSED).astype(np.int8)
    relations = StandingPairs(ids[said.actor], ids[said.target], standing).memory(ids)
    stored = {name: np.array(crowd[name]) for name in STORED}
    for name in ("created_at_s", "last_active_at_s"):
        stored[name] += shift_s
    return Population(
        Base(
            columns=Columns(stored | relations.counts(), Interests(np.array(crowd["starts"]), np.array(crowd["codes"]))),
            words=Vocabularies(GENDERS, CITIES, INTERESTS, SEEKS),
            directory=Directory(ids, np.arange(len(ids))),
            profiles=profiles,
            relations=relations,
        )
    )


def _publish(settings: Settings, crowd: People, population: Population, read: tuple[int, FeedPosition]) -> Manifest:
    """Write the bundle. `read`: how many interactions there are, and up to where in the feed they are in here."""
    mutual = crowd["mutual"]
    fold_in = FoldIn.of(mutual[:, N_FACTORS:], mutual[:, :N_FACTORS], Weights(REGULARISATION, LIKE_CONFIDENCE, PASS_CONFIDENCE))
    tastes = Tastes.of(mutual, crowd["content"], _encoder(crowd, population), fold_in)
    population.tastes = tastes
    created_at = datetime.now(UTC)
    with BundleWriter(Store(settings.artifacts_url, settings.cache_path), new_version(created_at, str(len(crowd)))) as writer:
        rankers = _add_rankers(writer, settings, population)
        _tell("rankers: trained")
        snapshot.write(writer, population, tastes, Writing(SEED, lambda step, done, total: _tell(f"{step}: {done:,}")))
        return writer.publish(
            Manifest(
                created_at=created_at,
                window_start=None,
                window_end=None,
                seed=SEED,
                feed_position=read[1],
                n_people=len(crowd),
                n_interactions=read[0],
                rankers=rankers,
            )
        )


def _encoder(crowd: People, population: Population) -> ContentEncoder:
    n = min(_TAUGHT_PEOPLE, len(crowd))
    words = fit_words([population.base_profiles.get(row) for row in range(n)], SEED)
    counts = np.ones(n, np.int64)
    mutual = np.array(crowd["mutual"][:n])
    cold_q, cold_p = (ridge(words.content, part, counts, 10.0) for part in np.split(mutual, 2, axis=1))
    return words.encoder(cold_p, cold_q)


def _add_rankers(writer: BundleWriter, settings: Settings, population: Population) -> dict[str, RankerEntry]:
    """Every installed ranker that learns, taught by looks at random people which end in a match more often the more both
    favour each other and the nearer they are."""
    installed = load_rankers(settings, FEATURES).by_name
    entries: dict[str, RankerEntry] = {}
    for name, ranker in installed.items():
        if ranker.factory.needs_bundle:
            arrays, _ = pack_ranker(ranker, train_ranker(ranker, _examples(population, ranker)))
            entries[name] = add_ranker(writer, ranker, arrays)
    return entries


def _examples(population: Population, ranker: InstalledRanker) -> TrainingExamples:
    rng, now_s = np.random.default_rng((SEED, 13)), time.time()
    names = tuple(ranker.factory.required_features)
    viewers = rng.choice(population.n_people, min(_VIEWERS, population.n_people), replace=False)
    decisive = ("forward_affinity", "backward_affinity", "distance_km")
    features, causes, candidates = [], [], []
    for row in viewers.tolist():
        viewer = population.base_profiles.get(row)
        ids = rng.choice(population.n_people, _LOOKS_EACH, replace=False).astype(np.int64) + 1
        people = population.candidate_columns(ids, population.relations(viewer.id).liked_by)
        view = population.viewer_view(viewer, now_s)
        features.append(assemble(view, people, names))
        causes.append(assemble(view, people, decisive))
        candidates.append(ids)
    cause = np.nan_to_num(np.concatenate(causes), nan=500.0)
    affinity = cause[:, :2].sum(axis=1)
    log_odds = 1.5 * (affinity - affinity.mean()) / affinity.std() - 0.3 * np.log1p(cause[:, 2] / 50) - 2.0
    return TrainingExamples(
        viewer_ids=np.repeat(viewers + 1, _LOOKS_EACH),
        candidate_ids=np.concatenate(candidates),
        names=names,
        features=np.concatenate(features),
        matched=(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds))).astype(np.float32),
        weights=np.ones(len(log_odds), np.float32),
        calibration=np.arange(len(log_odds)) >= 0.8 * len(log_odds),
        seed=SEED,
    )


async def _point(settings: Settings, manifest: Manifest) -> None:
    database = Database(settings.database_url, pool_size=1)
    try:
        bundles = Bundles(database.sessions)
        await bundles.register(manifest.version, manifest.created_at, manifest.metrics)
        await bundles.publish(manifest.version)
    finally:
        await database.close()


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, required=True)
    options = parser.parse_args()
    make(options.folder, options.people, load())


if __name__ == "__main__":
    main()
