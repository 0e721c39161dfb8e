"""The people of the demo: latent tastes, and the profiles and preferences that follow from them. Pure and deterministic."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile
from service.transfer.demo_words import CITIES, FAMILY_NAMES, GENDERS, GIVEN_NAMES, JOBS, SMALL_TALK, TASTES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

EARTH_RADIUS_KM = 6371.0088
HISTORY_DAYS = 120
"""Interactions lie in this many days before the reference date."""

NO_LIMIT_KM = 25_000.0
"""More than half the way around the Earth, so that no distance fails it."""

OPEN_AGES = (18, 99)


@dataclass(slots=True, eq=False)
class Crowd:
    """Everyone as columns, n people; row i has id i + 1.

    `age` int64; `gender` and `city` are codes into GENDERS and CITIES; `places` float64 (n, 3), unit vectors; `seeks` bool
    (n, genders); `min_age`, `max_age` int64; `max_km` float64, NO_LIMIT_KM for none. Latent, never written: `nature`
    float64 (n, tastes), what one is; `wish`, the same shape, what one looks for (both unit vectors); `charm` float64 (n,),
    standard normal. `joined_s` and `left_s`, float64: the span of activity, seconds since 1970.
    """

    age: Ints
    gender: Ints
    city: Ints
    latitude: Floats
    longitude: Floats
    places: Floats
    seeks: Mask
    min_age: Ints
    max_age: Ints
    max_km: Floats
    nature: Floats
    wish: Floats
    charm: Floats
    joined_s: Floats
    left_s: Floats

    @property
    def size(self) -> int:
        return len(self.age)


def draw_crowd(n_people: int, rng: np.random.Generator, reference: datetime) -> Crowd:
    """n people with tastes, ages, places and preferences; nobody's preferences are widened yet."""
    nature = _natures(n_people, rng)
    age = _ages(nature, rng)
    gender = rng.choice(len(GENDERS), n_people, p=(0.485, 0.485, 0.03))
    city = rng.choice(len(CITIES), n_people, p=[town.share for town in CITIES])
    latitude = np.array([town.latitude for town in CITIES])[city] + rng.normal(0, 0.05, n_people)
    longitude = np.array([town.longitude for town in CITIES])[city] + rng.normal(0, 0.08, n_people)
    below, above = rng.integers(4, 13, n_people), rng.integers(4, 13, n_people)
    joined_s, left_s = _spans(n_people, rng, reference)
    return Crowd(
        age=age,
        gender=gender,
        city=city,
        latitude=np.round(latitude, 5),
        longitude=np.round(longitude, 5),
        places=_unit_places(np.round(latitude, 5), np.round(longitude, 5)),
        seeks=_sought(gender, rng),
        min_age=np.maximum(age - below, OPEN_AGES[0]),
        max_age=np.minimum(age + above, OPEN_AGES[1]),
        max_km=rng.choice([30.0, 60.0, 200.0, NO_LIMIT_KM], n_people, p=(0.2, 0.25, 0.15, 0.4)),
        nature=_unit(nature),
        wish=_unit(nature + 0.35 * nature @ _kinship()),
        charm=rng.normal(size=n_people),
        joined_s=joined_s,
        left_s=left_s,
    )


def _natures(n_people: int, rng: np.random.Generator) -> Floats:
    """Shares of each taste, float64 (n, tastes): one that dominates, one beside it, a little of the rest."""
    n_tastes = len(TASTES)
    shares = 0.12 * rng.dirichlet(np.full(n_tastes, 0.5), n_people)
    order = rng.permuted(np.tile(np.arange(n_tastes), (n_people, 1)), axis=1)
    first = rng.uniform(0.5, 0.8, n_people)
    rows = np.arange(n_people)
    shares[rows, order[:, 0]] += first
    shares[rows, order[:, 1]] += 0.88 - first
    return shares


def _kinship() -> Floats:
    """float64 (tastes, tastes): 1 where the row's taste also finds the column's attractive."""
    names = [taste.name for taste in TASTES]
    links = np.zeros((len(names), len(names)))
    for row, taste in enumerate(TASTES):
        links[row, names.index(taste.kindred)] = 1.0
    return links


def _ages(nature: Floats, rng: np.random.Generator) -> Ints:
    mean = nature @ np.array([taste.mean_age for taste in TASTES])
    return np.asarray(np.clip(np.rint(mean + rng.gamma(2.0, 4.5, len(nature)) - 9.0), 18, 80), np.int64)


def _sought(gender: Ints, rng: np.random.Generator) -> Mask:
    """bool (n, genders): mostly the other of the two large ones, some the same, some both; few exclude the non-binary."""
    n_people = len(gender)
    draw = rng.random(n_people)
    other = np.where(gender == 2, rng.integers(0, 2, n_people), 1 - np.minimum(gender, 1))
    seeks = np.zeros((n_people, len(GENDERS)), bool)
    rows = np.arange(n_people)
    seeks[rows, np.where(draw < 0.12, 1 - other, other)] = True
    seeks[(draw > 0.80) | (gender == 2), :2] = True
    seeks[:, 2] = (rng.random(n_people) < 0.35) | (gender == 2)
    seeks[draw > 0.93] = True
    return seeks


def _spans(n_people: int, rng: np.random.Generator, reference: datetime) -> tuple[Floats, Floats]:
    """When each joined (two in five before the history begins) and was last there (a fifth drifted away)."""
    end_s = reference.timestamp()
    days_ago = np.where(rng.random(n_people) < 0.4, rng.uniform(HISTORY_DAYS, 700, n_people), HISTORY_DAYS * rng.random(n_people))
    joined_s = end_s - np.maximum(days_ago, 0.2) * 86_400
    start_s = np.maximum(joined_s, end_s - HISTORY_DAYS * 86_400)
    stayed = np.where(rng.random(n_people) < 0.2, rng.uniform(0.3, 0.9, n_people), rng.uniform(0.93, 1.0, n_people))
    return np.floor(joined_s), np.floor(start_s + (end_s - 60 - start_s) * stayed)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _unit_places(latitude: Floats, longitude: Floats) -> Floats:
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def accepts(crowd: Crowd, who: Ints | slice, whom: Ints | slice) -> Mask:
    """Which of `whom` are what `who` seek, bool (len(who), len(whom)); for the other direction, swap and transpose."""
    age = crowd.age[whom]
    kilometres = _kilometres(crowd, who, whom)
    ages = (age >= crowd.min_age[who][:, None]) & (age <= crowd.max_age[who][:, None])
    found: Mask = crowd.seeks[who][:, crowd.gender[whom]] & ages & (kilometres <= crowd.max_km[who][:, None])
    return found


def _kilometres(crowd: Crowd, who: Ints | slice, whom: Ints | slice) -> Floats:
    cosine = np.clip(crowd.places[who] @ crowd.places[whom].T, -1.0, 1.0)
    return EARTH_RADIUS_KM * np.arccos(cosine)


def eligible(crowd: Crowd, rows: Ints) -> Mask:
    """Mutual eligibility of `rows` with everyone, bool (len(rows), n); nobody with themselves."""
    everyone = slice(None)
    mutual = accepts(crowd, rows, everyone) & accepts(crowd, everyone, rows).T
    mutual[np.arange(len(rows)), rows] = False
    return mutual


def eligible_counts(crowd: Crowd, rows: Ints) -> Ints:
    """How many each of `rows` may meet, int64 (len(rows),); by the chunk, so that memory stays small."""
    chunks = [eligible(crowd, rows[start : start + 512]).sum(axis=1) for start in range(0, len(rows), 512)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int64)


def widen(crowd: Crowd, least: int) -> None:
    """Widens preferences, in place, until everyone has at least `least` eligible others (all of them where there are fewer).

    First what the person seeks: distance, then ages by four years at a time, then genders; at last those who come closest are
    made to accept the person. Each step only widens, so it ends.
    """
    least = min(least, crowd.size - 1)
    few = np.arange(crowd.size)
    for step in range(12):
        few = few[eligible_counts(crowd, few) < least]
        if not len(few):
            return
        _widen_step(crowd, few, step)
    for row in few[eligible_counts(crowd, few) < least]:
        _be_accepted(crowd, int(row), least)


def _widen_step(crowd: Crowd, few: Ints, step: int) -> None:
    if step == 0:
        crowd.max_km[few] = np.maximum(crowd.max_km[few], 200.0)
    elif step == 3:
        crowd.max_km[few] = NO_LIMIT_KM
    elif step == 11:
        crowd.seeks[few] = True
        crowd.min_age[few], crowd.max_age[few] = OPEN_AGES
    else:
        crowd.min_age[few] = np.maximum(crowd.min_age[few] - 4, OPEN_AGES[0])
        crowd.max_age[few] = np.minimum(crowd.max_age[few] + 4, OPEN_AGES[1])


def _be_accepted(crowd: Crowd, row: int, least: int) -> None:
    """Makes the `least` nearest in age accept `row`, who by now seeks anyone."""
    me = np.array([row])
    others = np.flatnonzero(np.arange(crowd.size) != row)
    nearest = others[np.argsort(np.abs(crowd.age[others] - crowd.age[row]), kind="stable")][:least]
    crowd.seeks[nearest, crowd.gender[row]] = True
    crowd.min_age[nearest] = np.minimum(crowd.min_age[nearest], crowd.age[row])
    crowd.max_age[nearest] = np.maximum(crowd.max_age[nearest], crowd.age[row])
    far = nearest[~(_kilometres(crowd, nearest, me)[:, 0] <= crowd.max_km[nearest])]
    crowd.max_km[far] = NO_LIMIT_KM


def profiles(crowd: Crowd, rng: np.random.Generator, last_active_s: Floats) -> list[Profile]:
    """Everyone as Profiles, ids 1..n; interests and bios are drawn from each one's nature, so that the text tells it."""
    shares = crowd.nature / crowd.nature.sum(axis=1, keepdims=True)
    return [_profile(crowd, row, shares[row], rng, last_active_s[row]) for row in range(crowd.size)]


def _profile(crowd: Crowd, row: int, shares: Floats, rng: np.random.Generator, last_active_s: float) -> Profile:
    city = CITIES[crowd.city[row]]
    given = GIVEN_NAMES[crowd.gender[row]]
    seeks = crowd.seeks[row]
    limit_km = float(crowd.max_km[row])
    return Profile(
        id=row + 1,
        name=f"{given[rng.integers(len(given))]} {FAMILY_NAMES[rng.integers(len(FAMILY_NAMES))]}",
        age=int(crowd.age[row]),
        gender=GENDERS[crowd.gender[row]],
        location=city.name,
        latitude=float(crowd.latitude[row]),
        longitude=float(crowd.longitude[row]),
        bio=_bio(shares, rng),
        interests=_interests(shares, rng),
        seeks_genders=() if seeks.all() else tuple(name for name, wanted in zip(GENDERS, seeks, strict=True) if wanted),
        seeks_min_age=int(crowd.min_age[row]),
        seeks_max_age=int(crowd.max_age[row]),
        seeks_max_km=None if limit_km >= NO_LIMIT_KM else limit_km,
        created_at=_instant(crowd.joined_s[row]),
        last_active_at=_instant(last_active_s),
    )


def _instant(seconds: Any) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))


def _interests(shares: Floats, rng: np.random.Generator) -> tuple[str, ...]:
    """Four to seven, three in four of the draws by nature, the rest anything."""
    chosen: dict[str, None] = {}
    wanted = int(rng.integers(4, 8))
    while len(chosen) < wanted:
        taste = rng.choice(len(TASTES), p=shares) if rng.random() < 0.8 else rng.integers(len(TASTES))
        interests = TASTES[taste].interests
        chosen[interests[rng.integers(len(interests))]] = None
    return tuple(chosen)


def _bio(shares: Floats, rng: np.random.Generator) -> str:
    """One or two sentences of one's tastes, a job, some small talk; one in twenty wrote nothing."""
    if rng.random() < 0.05:
        return ""
    parts: dict[str, None] = {}
    for taste in rng.choice(len(TASTES), size=rng.integers(1, 3), p=shares):
        sentences = TASTES[taste].sentences
        parts[sentences[rng.integers(len(sentences))]] = None
    if rng.random() < 0.5:
        parts[f"Works as a {JOBS[rng.integers(len(JOBS))]}.".replace(" a a", " an a").replace(" a e", " an e")] = None
    if rng.random() < 0.5:
        parts[SMALL_TALK[rng.integers(len(SMALL_TALK))]] = None
    return " ".join(parts)
