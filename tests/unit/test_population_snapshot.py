"""A population in a bundle is the same population again; one that does not fit is refused with the reason."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from service.artifacts.bundle import Bundle, Manifest
from service.artifacts.store import BundleWriter, Store
from service.domain import FeedPosition, Filters, Kind, Profile
from service.errors import BundleInvalid
from service.population import snapshot, spaces
from service.population.build import StandingPairs, build
from service.population.calibration import calibrate
from service.population.columns import COUNTS
from service.population.index import Index
from service.population.planes import Planes
from service.population.planner import Calibration
from service.population.population import Population
from service.population.standing import BLOCKED, LIKED, MESSAGED, PASSED
from service.population.table import STORED
from service.population.tastes import Tastes
from service.repositories.columns import CODES
from tests.population_people import NOW, asking, crowds, person, tastes

PAIRS = StandingPairs(
    np.array([1, 1, 2, 3, 4, 4, 5, 5, 2]),
    np.array([2, 3, 1, 1, 5, 5, 2, 2, 1]),
    np.array([LIKED, PASSED, LIKED, BLOCKED, LIKED, BLOCKED, BLOCKED, MESSAGED, MESSAGED], np.int8),
)


def manifest(n_people: int) -> Manifest:
    return Manifest(
        created_at=NOW,
        window_start=None,
        window_end=None,
        seed=1,
        feed_position=FeedPosition(7, 9),
        n_people=n_people,
        n_interactions=0,
    )


def saved(
    folder: Path, population: Population, vectors: Tastes, version: str = "v1", extra: dict[str, Any] | None = None
) -> Bundle:
    """The bundle that is read back; `extra` replaces arrays as they are written."""
    store = Store(folder, folder / "cache")
    with BundleWriter(store, version) as writer:
        plain = writer.array
        writer.array = lambda name, values: plain(name, (extra or {}).get(name, values))  # type: ignore[method-assign]
        snapshot.write(writer, population, vectors)
        writer.publish(manifest(population.n_people))
    return store.open(version)


def through_bundle(folder: Path, people: list[Profile], version: str = "v1") -> tuple[Population, Population]:
    vectors = tastes(people)
    built = build(people, PAIRS, vectors)
    return built, snapshot.load(saved(folder, built, vectors, version))


def test_who_has_said_nothing_since_has_the_trained_taste_wherever_the_row_lies(tmp_path: Path) -> None:
    people = [person(one, bio=f"w{one}", latitude=48.0 - 5 * (one % 3), longitude=2.0) for one in range(1, 6)]
    built, loaded = through_bundle(tmp_path, people)
    assert loaded.rows(np.arange(1, 6)).tolist() != built.rows(np.arange(1, 6)).tolist()
    for one in people:
        asks = (each.eligible(asking(one, each.relations(one.id))).viewer_vector("mutual") for each in (built, loaded))
        before, after = (vector for vector in asks if vector is not None)
        np.testing.assert_allclose(after, before, atol=1e-3)


def test_loaded_population_answers_as_the_built_one(tmp_path: Path) -> None:
    people = [person(one, bio=f"w{one}", interests=(f"i{one}", "all"), gender="x") for one in (3, 1, 2, 5, 4)]
    built, loaded = through_bundle(tmp_path, people)
    views = [each.eligible(asking(people[1], each.relations(1), exclude_seen=False)) for each in (built, loaded)]
    query = views[0].viewer_vector("mutual")
    assert query is not None
    found = [view.search("mutual", query, 9) for view in views]
    assert found[0].ids.tolist() == found[1].ids.tolist() == sorted(found[0].ids.tolist(), key=found[0].ids.tolist().index)
    names = (
        "mutual_affinity",
        "content_similarity",
        "shared_interests",
        "candidate_log_likes_received",
        "candidate_completeness",
    )
    first, second = (view.features(found[0].ids, names) for view in views)
    np.testing.assert_allclose(first, second, atol=2e-5)  # a vector's numbers are kept in 16 bits
    assert [loaded.profile(one.id) for one in people] == people
    assert (loaded.bundle_version, loaded.position, loaded.n_people) == ("v1", FeedPosition(7, 9), 5)


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=crowds(5))
def test_any_people_are_eligible_and_related_as_before(tmp_path_factory: pytest.TempPathFactory, people: list[Profile]) -> None:
    built, loaded = through_bundle(tmp_path_factory.mktemp("bundle"), people)
    everyone = np.arange(1, 6)
    first, second = (each.mask(people[0], Filters(), NOW.timestamp())[each.rows(everyone)] for each in (built, loaded))
    np.testing.assert_array_equal(first, second)
    for name in (*STORED, *COUNTS):
        before, after = (each.columns.take(name, each.rows(everyone)) for each in (built, loaded))
        np.testing.assert_array_equal(before, after)
    assert loaded.columns.take("n_likes_received", loaded.rows(everyone)).tolist() == [1, 2, 0, 0, 1]
    for one in range(1, 6):
        stood, stands = built.relations(one), loaded.relations(one)
        for name in ("liked", "passed", "liked_by", "passed_by", "blocked"):
            assert getattr(stood, name) == getattr(stands, name)


def test_loaded_population_takes_changes(tmp_path: Path) -> None:
    _, loaded = through_bundle(tmp_path, [person(one, bio="a") for one in range(1, 6)])
    loaded.apply_profiles([person(2, bio="b"), person(9, location="Ulm")])
    loaded.erase([3])
    assert sorted(loaded.ids().tolist()) == [1, 2, 4, 5, 9]
    assert loaded.relations(1).passed == frozenset()


def test_empty_population_can_be_saved(tmp_path: Path) -> None:
    built, loaded = through_bundle(tmp_path, [])
    assert built.n_people == loaded.n_people == 0
    assert loaded.eligible(asking(person(1))).n_eligible == 0


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("vectors.mutual.step", np.full(8, np.nan, np.float32), "must be finite"),
        ("vectors.mutual.high", np.ones((4, 8), np.uint8), "two of bytes that fit"),
        ("people.age", np.ones(4, np.float32), "differ in length"),
        ("people.id", np.array([1, 2, 2, 4, 5]), "directory does not fit"),
        ("directory.ids", np.array([1, 2, 2, 4, 5]), "directory does not fit"),
        ("directory.rows", np.array([0, 1, 1, 3, 4]), "does not name every row once"),
        ("people.newest", np.array([0, 1, 2, 3, 9]), "does not name every row once"),
        ("people.gender", np.full(5, 3, np.int32), "codes of gender"),
        ("relations.given.indptr", np.array([0, 1, 2, 3, 4, 99]), "relations.given"),
        ("profiles.offsets", np.zeros(6, np.int64), "profiles"),
        ("content.cold_p", np.ones((2, 2), np.float32), "do not fit"),
    ],
)
def test_bundle_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, name: str, values: object, reason: str) -> None:
    people = [person(one) for one in range(1, 6)]
    vectors = tastes(people)
    bundle = saved(tmp_path, build(people, PAIRS, vectors), vectors, extra={name: values})
    with pytest.raises(BundleInvalid, match=f"^bundle v1: .*{reason}"):
        snapshot.load(bundle)


def test_population_with_an_overlay_is_not_written(tmp_path: Path) -> None:
    people = [person(1), person(2)]
    built = build(people)
    built.apply_profiles([person(1, bio="changed")])
    with pytest.raises(ValueError, match="nothing has changed"):
        saved(tmp_path, built, tastes(people))


def test_relations_read_from_a_bundle_take_news_as_those_built_do(tmp_path: Path) -> None:
    """A bundle keeps numbers in the narrowest type, whose sums would overflow: 90 pairs fit a byte, twice 90 do not."""
    people = [person(one) for one in range(1, 41)]
    rng = np.random.default_rng(0)
    keys = rng.choice(40 * 40, 90, replace=False)
    pairs = StandingPairs(keys // 40 + 1, keys % 40 + 1, np.full(90, LIKED, np.int8))
    built = build(people, pairs, tastes(people))
    loaded = snapshot.load(saved(tmp_path, built, tastes(people)))
    news = keys // 40 + 1, keys % 40 + 1, np.full(90, CODES[Kind.PASS], np.int8)
    for population in (built, loaded):
        population.apply_interactions(*news)
    everyone = np.arange(1, 41)
    for name in COUNTS:
        before, after = (each.columns.take(name, each.rows(everyone)) for each in (built, loaded))
        np.testing.assert_array_equal(before, after)


def test_population_with_indexes_is_found_in_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "INDEX_FROM_ROWS", 500)
    dear = partial(replace, exact_ms=1e6)
    monkeypatch.setattr(spaces, "calibrate", lambda *given, **options: dear(calibrate(*given, **options)))
    people = [person(one, bio=f"w{one % 9}", gender="x") for one in range(1, 601)]
    built, loaded = through_bundle(tmp_path, people)
    views = [each.eligible(asking(people[0], each.relations(1))) for each in (built, loaded)]
    for space in ("mutual", "content"):
        query = views[0].viewer_vector(space)
        assert query is not None
        exact, planned = (view.search(space, query, 100).ids.tolist() for view in views)
        assert len(set(exact) & set(planned)) >= 90
    methods = {views[1].searches()[f"amity.search.{space}.method"] for space in ("mutual", "content")}
    assert methods & {"probe", "plain"}


def test_another_layout_is_tried_where_the_first_does_not_reach_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "INDEX_FROM_ROWS", 500)
    made: list[int] = []

    def unfit(planes: Planes, index: Index, *others: Any, **options: Any) -> Calibration:
        made.append(index.dump()["lists"].nbytes)
        found = calibrate(planes, index, *others, **options)
        return replace(found, steps=(*found.steps[:-1], replace(found.steps[-1], depth=0)))

    monkeypatch.setattr(spaces, "calibrate", unfit)
    through_bundle(tmp_path, [person(one, bio=f"w{one % 9}", gender="x") for one in range(1, 601)])
    halved, whole = made[:2]
    assert halved < whole
