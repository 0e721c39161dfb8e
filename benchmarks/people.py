"""Synthetic people as arrays in files, up to ten million: clustered tastes that go with age and city, and what they are and seek.

The vectors are hard on purpose: people of one cluster differ nearly as much as clusters do (.8 of it), the spectrum falls
slowly (k^-.5), and how likeable people are varies as widely as in real data (lognormal). Ages pull people to clusters, and so do
cities. Interests named `tag ..` are drawn for everyone alike, whatever their tastes: filters on them are independent of the
vectors. Three of five people seek others at any distance, the others within some 40 km: whoever has a place can still be for
most, so that the kilometres of both sides can be part of wide masks too.
"""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.artifacts.bundle import map_file
from service.domain import Profile
from service.features.geography import squared_chord_of_km, unit_vectors
from service.population.profiles import ProfileBytes, encode
from service.population.table import N_SAYABLE, STORED

Floats = NDArray[np.float32]
Array = NDArray[Any]
Told = Callable[[str], None]

N_FACTORS = 64
N_CONTENT = 64
NOW_S = 1_790_000_000.0

GENDERS = ("female", "male", "nonbinary")
SEEKS: tuple[tuple[str, ...], ...] = ((), ("male",), ("female",), ("female", "male"), ("female", "male", "nonbinary"))
N_CITIES = 300
CITIES = tuple(f"city {rank}" for rank in range(N_CITIES))
N_HOBBIES = 60
TAG_SHARES = (0.3, 0.1, 0.05, 0.01, 0.001, 0.0001)
TAGS = tuple(f"tag {share:g}" for share in TAG_SHARES)
"""Each is named by the share of all people who have it and accept the distance to a viewer far from most."""
INTERESTS = (*(f"hobby {number}" for number in range(N_HOBBIES)), *TAGS)

_N_CLUSTERS = 400
_ANY_DISTANCE = 0.6
_TAGGED = tuple(share / _ANY_DISTANCE for share in TAG_SHARES)
_CHUNK_ROWS = 100_000
_DAY_S = 86_400.0
_KM_A_DEGREE = 111.2
_SEEKS_OF_GENDER = ((0.06, 0.82, 0.05, 0.05, 0.02), (0.06, 0.05, 0.82, 0.05, 0.02), (0.3, 0.1, 0.1, 0.1, 0.4))
_DTYPES: dict[str, type[np.generic]] = dict(STORED) | {
    "latitude": np.float64,
    "longitude": np.float64,
    "seeks_max_km": np.float64,
}

_TOLD = ("id", "age", "gender", "location", "latitude", "longitude", "seeks_genders", "seeks_min_age", "seeks_max_age",
         "seeks_max_km", "created_at_s", "last_active_at_s")  # fmt: skip


class World(msgspec.Struct, frozen=True, eq=False):
    """What all people share: clusters of tastes with their usual ages, cities with sizes, places and favourite clusters."""

    cluster_ages: Array
    centres: tuple[Floats, Floats, Floats]
    hobbies: Array
    city_odds: Array
    city_places: Array
    city_km: Array
    city_clusters: Array

    @classmethod
    def of(cls, seed: int) -> "World":
        rng = np.random.default_rng((seed, 0))
        odds = (1 + np.arange(N_CITIES)) ** -0.9
        p, q, content = (rng.normal(0, 1, (_N_CLUSTERS, d)).astype(np.float32) for d in (N_FACTORS, N_FACTORS, N_CONTENT))
        return cls(
            cluster_ages=np.sort(18 + rng.gamma(2.2, 7, _N_CLUSTERS)),
            centres=(p, q, content),
            hobbies=rng.integers(0, N_HOBBIES, (_N_CLUSTERS, 8)),
            city_odds=odds / odds.sum(),
            city_places=np.stack((rng.uniform(36, 60, N_CITIES), rng.uniform(-9, 30, N_CITIES)), axis=1),
            city_km=4 * (odds / odds[-1]) ** 0.3,
            city_clusters=rng.integers(0, _N_CLUSTERS, (N_CITIES, 6)),
        )


class People:
    """The files of `make`, mapped: columns by name, `starts` and `codes` of interests, `mutual` as (q, p), and `content`.

    Row r has id r + 1.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return len(self["id"])

    def __getitem__(self, name: str) -> Array:
        found: Array = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return found

    @cached_property
    def profiles(self) -> ProfileBytes:
        """By row, as the service keeps profiles."""
        return ProfileBytes(self["profiles"], map_file(self.folder / "profiles.bin"))

    def mutual_query(self, row: int) -> Floats:
        """What a person asks the mutual space: (p, q)."""
        return np.roll(np.asarray(self["mutual"][row], np.float32), N_FACTORS)


def make(folder: Path, n: int, seed: int, told: Told) -> People:
    """Write `n` people into a folder, about 1,200 bytes each. The first of more people are the same as fewer of them."""
    folder.mkdir(parents=True)
    world = World.of(seed)
    shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        name: ((n, 3) if name == "place" else (n,), dtype) for name, dtype in _DTYPES.items()
    }
    shapes |= {"mutual": ((n, 2 * N_FACTORS), np.float32), "content": ((n, N_CONTENT), np.float32)}
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, (shape, dtype) in shapes.items()
    }
    lengths: list[Array] = []
    codes: list[Array] = []
    sizes: list[int] = []
    for start in range(0, n, _CHUNK_ROWS):
        rng = np.random.default_rng((seed, 1 + start // _CHUNK_ROWS))
        stop = min(n, start + _CHUNK_ROWS)
        columns, clusters = _attributes(world, start, rng)
        columns["mutual"], columns["content"] = _vectors(world, clusters, rng)
        for name, array in files.items():
            array[start:stop] = columns[name][: stop - start]
        some = _interests(world, clusters, rng)[: stop - start]
        lengths.append((some >= 0).sum(axis=1))
        codes.append(some[some >= 0].astype(np.int32))
        encoded = [encode(profile) for profile in _profiles(columns, some)]
        sizes.extend(map(len, encoded))
        with (folder / "profiles.bin").open("ab") as file:
            file.write(b"".join(encoded))
        told(f"people: {stop:,} of {n:,}")
    np.save(folder / "profiles.npy", np.append(0, np.cumsum(sizes)))
    np.save(folder / "starts.npy", np.append(0, np.cumsum(np.concatenate(lengths))))
    np.save(folder / "codes.npy", np.concatenate(codes))
    return People(folder)


def _attributes(world: World, first: int, rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
    """Columns of the next _CHUNK_ROWS people, and their clusters."""
    n = _CHUNK_ROWS
    age = np.clip(18 + rng.gamma(2.2, 7, n), 18, 90).round()
    city = rng.choice(N_CITIES, n, p=world.city_odds)
    by_age = np.searchsorted(world.cluster_ages, age + rng.normal(0, 4, n)).clip(0, _N_CLUSTERS - 1)
    of_city = world.city_clusters[city, rng.integers(0, world.city_clusters.shape[1], n)]
    cluster = np.where(rng.random(n) < 0.3, of_city, by_age)
    gender = rng.choice(len(GENDERS), n, p=(0.49, 0.49, 0.02))
    latitude, longitude = _places(world, city, rng)
    columns: dict[str, Array] = {
        "id": first + 1 + np.arange(n),
        "age": _sometimes(np.nan, 0.01, age, rng),
        "gender": gender,
        "location": _sometimes(-1, 0.03, city, rng),
        "latitude": latitude,
        "longitude": longitude,
        "seeks_genders": _seeks(gender, rng),
        "seeks_max_km": _sometimes(np.inf, _ANY_DISTANCE, rng.lognormal(math.log(40), 0.8, n), rng),
        "active": rng.random(n) < 0.99,
        "incarnation": np.ones(n),
        "created_at_s": NOW_S - rng.uniform(1, 700, n).round() * _DAY_S,
        "last_active_at_s": NOW_S - rng.exponential(12, n).round(3) * _DAY_S,
        "n_said": rng.integers(3, N_SAYABLE + 1, n),
    }
    older = np.where(gender == 0, 1.5, -1.5)
    width = rng.gamma(2, 3, (2, n))
    columns["seeks_min_age"] = _sometimes(-np.inf, 0.25, np.maximum(18, age + older - 2 - width[0]).round(), rng)
    columns["seeks_max_age"] = _sometimes(np.inf, 0.25, (age + older + 2 + width[1]).round().clip(20, 120), rng)
    columns["place"] = unit_vectors(latitude, longitude)
    columns["seeks_max_chord"] = squared_chord_of_km(columns["seeks_max_km"])
    return columns, cluster


def _places(world: World, city: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Around the city's middle, some far out; in 2 % unknown. Degrees with 4 decimals, about ten metres."""
    n = len(city)
    km = rng.normal(0, 1, (n, 2)) * world.city_km[city, None] * np.where(rng.random(n) < 0.1, 5, 1)[:, None]
    latitude = world.city_places[city, 0] + km[:, 0] / _KM_A_DEGREE
    longitude = world.city_places[city, 1] + km[:, 1] / (_KM_A_DEGREE * np.cos(np.radians(latitude)))
    unknown = rng.random(n) < 0.02
    return np.where(unknown, np.nan, latitude.round(4)), np.where(unknown, np.nan, longitude.round(4))


def _seeks(gender: Array, rng: np.random.Generator) -> Array:
    steps = np.cumsum(_SEEKS_OF_GENDER, axis=1)[gender]
    drawn: Array = (rng.random(len(gender))[:, None] > steps).sum(axis=1)
    return drawn.clip(0, len(SEEKS) - 1)


def _vectors(world: World, cluster: Array, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(q, p) and content. Likeability and content follow the cluster of tastes in seven of ten, and else another."""
    spectrum = (np.arange(1, N_FACTORS + 1) ** -0.5).astype(np.float32)

    def side(centres: Floats, of: Array) -> Floats:
        spread = rng.standard_normal((len(of), centres.shape[1]), np.float32) * np.float32(0.8)
        found: Floats = (centres[of] + spread) * spectrum
        return found

    n = len(cluster)
    p, q, content = (
        side(centres, np.where(rng.random(n) < loyal, cluster, rng.integers(0, _N_CLUSTERS, n)))
        for centres, loyal in zip(world.centres, (1.0, 0.7, 0.7), strict=True)
    )
    q *= rng.lognormal(0, 0.4, n).astype(np.float32)[:, None]
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    return np.concatenate((q, p), axis=1), content


def _interests(world: World, cluster: Array, rng: np.random.Generator) -> Array:
    """Codes by person, ascending, -1 where there is none: up to three hobbies, mostly of their cluster, and the tags."""
    n = len(cluster)
    hobbies = world.hobbies[cluster[:, None], rng.integers(0, world.hobbies.shape[1], (n, 3))]
    hobbies = np.sort(np.where(rng.random((n, 3)) < 0.7, hobbies, rng.integers(0, N_HOBBIES, (n, 3))), axis=1)
    hobbies[:, 1:][hobbies[:, 1:] == hobbies[:, :-1]] = -1
    tagged = rng.random((n, len(TAGS))) < np.array(_TAGGED)
    tags = np.where(tagged, N_HOBBIES + np.arange(len(TAGS)), -1)
    return np.concatenate((hobbies, tags), axis=1)


def _profiles(columns: dict[str, Array], interests: Array) -> Iterator[Profile]:
    """The people of these rows as the service knows them."""
    plain = zip(*(columns[name].tolist() for name in _TOLD), interests.tolist(), strict=False)
    for person_id, age, gender, city, latitude, longitude, seeks, least, most, km, created_s, active_s, codes in plain:
        yield Profile(
            id=person_id,
            name=f"Person {person_id}",
            age=_whole(age),
            gender=GENDERS[gender],
            location=CITIES[int(city)] if city >= 0 else None,
            latitude=_number(latitude),
            longitude=_number(longitude),
            interests=tuple(INTERESTS[code] for code in codes if code >= 0),
            seeks_genders=SEEKS[seeks],
            seeks_min_age=_whole(least),
            seeks_max_age=_whole(most),
            seeks_max_km=_number(km),
            created_at=datetime.fromtimestamp(created_s, UTC),
            last_active_at=datetime.fromtimestamp(active_s, UTC),
        )


def _sometimes(value: float, share: float, otherwise: Array, rng: np.random.Generator) -> Array:
    return np.where(rng.random(len(otherwise)) < share, value, otherwise)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
