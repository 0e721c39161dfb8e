"""People, vectors and questions for the tests of features, population and sources."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.domain import Filters, Profile, Relations, Status
from service.features.content import N_DENSE, ContentEncoder
from service.population.bits import pack
from service.population.tastes import Tastes
from service.population.vectors import Passing

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
N_BUCKETS = 512


def person(person_id: int, **changes: Any) -> Profile:
    given: dict[str, Any] = {"name": f"P{person_id}", "created_at": NOW}
    return Profile(id=person_id, **given | changes)


def asking(viewer: Profile, relations: Relations = Relations(), **changes: Any) -> Any:  # noqa: B008 - frozen
    given: dict[str, Any] = {"filters": Filters(), "exclude_seen": True, "now_s": NOW.timestamp(), "without": frozenset()}
    return SimpleNamespace(viewer=viewer, relations=relations, **given | changes)


def encoder(n_content: int = 8, n_factors: int = 4, seed: int = 0) -> ContentEncoder:
    rng = np.random.default_rng(seed)
    shapes = ((N_BUCKETS,), (N_BUCKETS + N_DENSE, n_content), (n_content + 1, n_factors), (n_content + 1, n_factors))
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return ContentEncoder(np.abs(arrays[0]) + 1, *arrays[1:])


def tastes(profiles: list[Profile], seed: int = 0) -> Tastes:
    """Random tastes of four factors, and content as an encoder of random weights sees it, for people by ascending id."""
    made = encoder(seed=seed)
    mutual = np.random.default_rng(seed).standard_normal((len(profiles), 8)).astype(np.float32)
    return Tastes.of(mutual, made.encode_many(sorted(profiles, key=lambda one: one.id)), made)


genders = st.sampled_from([None, "Woman", "woman", "man", "STRASSE", "straße", "x"])
ages = st.none() | st.integers(18, 24)
places = st.sampled_from([(None, None), (48.85, 2.35), (48.9, 2.4), (45.76, 4.83), (-48.85, -177.65), (90.0, 0.0)])
km = st.none() | st.sampled_from([1.0, 7.5, 400.0, 25_000.0])
texts = st.lists(st.sampled_from(["Hiking", "hiking", "Go", "İstanbul", "日本"]), max_size=3).map(tuple)


@st.composite
def profiles(draw: st.DrawFn, person_id: int) -> Profile:
    latitude, longitude = draw(places)
    low, high = draw(ages), draw(ages)
    return person(
        person_id,
        age=draw(ages),
        gender=draw(genders),
        location=draw(st.sampled_from([None, "Paris", "PARIS", "Lyon"])),
        latitude=latitude,
        longitude=longitude,
        interests=draw(texts),
        seeks_genders=tuple(draw(st.sets(genders.filter(bool), max_size=2))),
        seeks_min_age=low if high is None or low is None else min(low, high),
        seeks_max_age=high if high is None or low is None else max(low, high),
        seeks_max_km=draw(km),
        status=draw(st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.PAUSED, Status.BANNED])),
        last_active_at=draw(
            st.sampled_from([None, NOW, datetime(2026, 10, 30, 12, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)])
        ),
    )


def crowds(size: int = 6) -> st.SearchStrategy[list[Profile]]:
    """The viewer, id 1, and others."""
    return st.tuples(*(profiles(person_id) for person_id in range(1, size + 1))).map(list)


filters = st.builds(
    Filters,
    min_age=st.none() | st.integers(18, 22),
    max_age=st.none() | st.integers(21, 24),
    genders=st.sampled_from([(), ("woman",), ("man", "strasse"), ("nobody",)]),
    locations=st.sampled_from([(), ("paris",), ("lyon", "rome")]),
    interests=st.sampled_from([(), ("hiking",), ("i̇stanbul", "日本"), ("chess",)]),
    max_km=st.none() | st.sampled_from([5.0, 400.0, 25_000.0]),
    active_within_days=st.none() | st.sampled_from([1, 2, 400]),
)


def passing_of(mask: NDArray[np.bool_], n_base: int) -> Passing:
    """From a bool by row, the first `n_base` of which are the base's."""
    return Passing.of(pack(mask[:n_base]), mask[n_base:])
