"""The benchmark of retrieval measures against the truth only if its own exact search, people and cases are right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import people, scale_cases, scale_truth
from benchmarks.people import People
from service.domain import Filters, Profile
from service.features.geography import distance_km, squared_chord_of_km, squared_chords, unit_vectors

Bools = NDArray[np.bool_]

K = 20


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> People:
    return people.make(tmp_path_factory.mktemp("crowd") / "people", 3000, 7, lambda line: None)


@pytest.mark.parametrize("share", [1.0, 0.2, 0.002])
def test_truth_is_what_sorting_all_who_pass_gives(share: float) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((70_001, 8)).astype(np.float32)
    queries = rng.standard_normal((3, 8)).astype(np.float32)
    passing = rng.random((3, len(vectors))) < share
    found = scale_truth.best(vectors, queries, np.packbits(passing, axis=1, bitorder="little"), K)
    for query, mask, rows in zip(queries, passing, found, strict=True):
        who = np.flatnonzero(mask)
        assert rows.tolist() == who[np.argsort(-(vectors[who] @ query))][:K].tolist()


def test_truth_of_few_is_all_of_them() -> None:
    vectors = np.eye(16, 4, dtype=np.float32)
    mask = np.packbits(np.arange(16) % 8 == 1, bitorder="little")
    found = scale_truth.best(vectors, np.array([[0, 1, 0, 0]], np.float32), mask[None], 5)
    assert found.tolist() == [[1, 9, -1, -1, -1]]


def test_recall_is_the_share_of_the_true_ones_that_were_found() -> None:
    assert scale_truth.recall(np.array([3, 9, 4]), np.array([4, 3, 2, 1])) == 0.5
    assert scale_truth.recall(np.array([4]), np.array([4, -1, -1])) == 1


def test_fewer_people_are_the_first_of_more(crowd: People, tmp_path: Path) -> None:
    fewer = people.make(tmp_path / "people", 100, 7, lambda line: None)
    for name in ("age", "place", "mutual", "content", "seeks_max_chord"):
        assert np.array_equal(fewer[name], crowd[name][:100], equal_nan=True)


def test_profiles_say_what_the_columns_hold(crowd: People) -> None:
    for row in (0, 17, 2999):
        profile = crowd.profiles.get(row)
        codes = crowd["codes"][crowd["starts"][row] : crowd["starts"][row + 1]]
        assert profile.id == crowd["id"][row]
        assert profile.interests == tuple(people.INTERESTS[code] for code in codes)
        assert np.array_equal(np.float32(profile.age or np.nan), crowd["age"][row], equal_nan=True)


def test_people_of_one_city_live_near_each_other(crowd: People) -> None:
    of_largest = np.flatnonzero((crowd["location"] == 0) & ~np.isnan(crowd["latitude"]))[:50]
    places = [(float(crowd["latitude"][row]), float(crowd["longitude"][row])) for row in of_largest]
    assert np.median([distance_km(*places[0], *place) for place in places]) < 100


def too_far(crowd: People, viewer: Profile) -> tuple[Bools, Bools]:
    """By row: whom the viewer is too far for, and who is too far for the viewer."""
    assert viewer.latitude is not None
    assert viewer.longitude is not None
    chords = squared_chords(crowd["place"], unit_vectors(viewer.latitude, viewer.longitude))
    seeks = np.inf if viewer.seeks_max_km is None else float(squared_chord_of_km(viewer.seeks_max_km))
    return chords > crowd["seeks_max_chord"], chords > seeks


@pytest.mark.parametrize("share", [0.3, 0.1])
def test_distance_cuts_both_ways_in_wide_correlated_cases(crowd: People, share: float) -> None:
    def count(viewer: Profile, filters: Filters) -> int:
        for_them, for_viewer = too_far(crowd, viewer)
        ages = np.nan_to_num(crowd["age"], nan=-1)
        of_age = (ages >= (filters.min_age or 0)) & (ages <= (filters.max_age or 200))
        return int((of_age & ~for_them & ~for_viewer).sum())

    found = list(scale_cases.cases(crowd, share, "correlated", 20, count))
    assert len({case.way for case in found}) >= 3
    for case in found:
        assert all(cut.sum() > 30 for cut in too_far(crowd, case.viewer))


def test_independent_cases_count_the_tagged_who_accept_the_distance(crowd: People) -> None:
    starts, codes = crowd["starts"], crowd["codes"]

    def count(viewer: Profile, filters: Filters) -> int:
        for_them, for_viewer = too_far(crowd, viewer)
        tagged = np.zeros(len(crowd), np.bool_)
        (tag,) = filters.interests
        owners: Any = np.searchsorted(starts, np.flatnonzero(codes == people.INTERESTS.index(tag)), side="right")
        tagged[owners - 1] = True
        assert tagged[for_them].any()
        return int((tagged & ~for_them & ~for_viewer).sum())

    for case in scale_cases.cases(crowd, 0.3, "independent", 5, count):
        assert count(case.viewer, case.filters) == pytest.approx(900, rel=0.2)


def test_cases_leave_about_the_share_that_is_wanted(crowd: People) -> None:
    ages = np.nan_to_num(crowd["age"], nan=-1)

    def count(viewer: Profile, filters: Filters) -> int:
        return int(((ages >= (filters.min_age or 0)) & (ages <= (filters.max_age or 200))).sum())

    found = list(scale_cases.cases(crowd, 0.3, "correlated", 5, count))
    tolerance = scale_cases.TOLERANCE
    assert len(found) == 5
    assert all(900 / tolerance <= count(case.viewer, case.filters) <= 900 * tolerance for case in found)


def test_cases_that_cannot_be_found_are_an_error_not_a_shorter_list(crowd: People) -> None:
    with pytest.raises(RuntimeError, match="no correlated filters"):
        list(scale_cases.cases(crowd, 0.1, "correlated", 1, lambda viewer, filters: 0))
