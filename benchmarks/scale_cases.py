"""Who asks for whom in the benchmark of retrieval: viewers and filters for which a wanted share of all people is eligible.

`correlated`: what real requests are made of: ages sought and asked for, genders, kilometres, cities, and everyone's own
preferences against the viewer. One of them is widened or narrowed until about the wanted share is left. Every viewer has a place
and kilometres sought, and must be within the kilometres of whom they get: two-way distance is part of each of these masks, of
the widest too. `independent`: of who asks only tastes and the place are known, and they filter by an interest that is drawn at
random; the share is that of its owners times that of those who accept the distance. The viewer seeks no kilometres there, since
these would make the mask go with the city, and so with tastes. With 100 % there is no filter and no preference in either, and no
place: two of five people accept only the near, so with a place everybody cannot be left.
"""

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from benchmarks.people import CITIES, NOW_S, TAG_SHARES, TAGS, People
from service.domain import Filters, Profile, Relations

SHARES = (1.0, *TAG_SHARES)
VARIETIES = ("correlated", "independent")
TOLERANCE = 1.6
"""How many times too many or too few may be eligible for a case to stand for a share; three people are never too far off."""

Count = Callable[[Profile, Filters], int]

_FEW = 3
_OLDEST = 100
_N_WIDTHS = 60
_N_RADII = 96
_WIDE_KM = 800
_WIDER = 1.03
_FAR_KM = 1500
_LEAST_CUT = 1.15
_CENTRE_IS_OWN = 0.7


class Case(msgspec.Struct, frozen=True):
    """One request: the viewer's tastes are those of the person in `row`."""

    share: float
    variety: str
    way: str
    row: int
    viewer: Profile
    filters: Filters


class Ask(msgspec.Struct, frozen=True, eq=False):
    """What a view asks for: a case, and whom the viewer has met."""

    viewer: Profile
    filters: Filters
    relations: Relations
    exclude_seen: bool = True
    now_s: float = NOW_S
    without: frozenset[int] = frozenset()


def ask(case: Case, n_people: int) -> Ask:
    """With some relations to anyone: 30 liked, 100 passed, 20 who passed the viewer and three blocked."""
    ids = np.random.default_rng(case.row).integers(1, n_people + 1, 153).tolist()
    relations = Relations(
        liked=frozenset(ids[:30]), passed=frozenset(ids[30:130]), passed_by=frozenset(ids[130:150]), blocked=frozenset(ids[150:])
    )
    return Ask(case.viewer, case.filters, relations)


class Steering(msgspec.Struct, frozen=True):
    """One way to steer: of a person and an age to look for, by a knob, who asks with which filters. More pass at higher knobs."""

    n_knobs: int
    at: Callable[[Profile, int, int], tuple[Profile, Filters]]


def _by_age(person: Profile, age: int, knob: int) -> tuple[Profile, Filters]:
    return _placed(person, _wide_km(knob)), _ages(age, knob)


def _by_age_and_gender(person: Profile, age: int, knob: int) -> tuple[Profile, Filters]:
    return _placed(person, _wide_km(knob), "gender", "seeks_genders"), _ages(age, knob)


def _by_ages_sought(person: Profile, age: int, knob: int) -> tuple[Profile, Filters]:
    sought = _ages(age, knob)
    viewer = _placed(person, _wide_km(knob), "gender", "seeks_genders", "age")
    return msgspec.structs.replace(viewer, seeks_min_age=sought.min_age, seeks_max_age=sought.max_age), Filters()


def _by_km_sought(person: Profile, _: int, knob: int) -> tuple[Profile, Filters]:
    return _placed(person, _km(knob)), Filters()


def _by_distance(person: Profile, _: int, knob: int) -> tuple[Profile, Filters]:
    return msgspec.structs.replace(person, seeks_max_km=_FAR_KM), Filters(max_km=_km(knob))


def _by_distance_and_age(person: Profile, age: int, knob: int) -> tuple[Profile, Filters]:
    viewer = msgspec.structs.replace(person, seeks_max_km=_km(knob), seeks_min_age=None, seeks_max_age=None)
    return viewer, _ages(age, 3)


def _by_city(person: Profile, _: int, knob: int) -> tuple[Profile, Filters]:
    cities = np.random.default_rng(person.id).permutation(CITIES)[: knob + 1]
    viewer = _placed(person, _FAR_KM, "gender", "seeks_genders", "age", "seeks_min_age", "seeks_max_age")
    return viewer, Filters(locations=tuple(sorted(cities.tolist())))


WAYS = {
    "age": Steering(_N_WIDTHS, _by_age),
    "age and gender": Steering(_N_WIDTHS, _by_age_and_gender),
    "ages sought": Steering(_N_WIDTHS, _by_ages_sought),
    "kilometres sought": Steering(_N_RADII, _by_km_sought),
    "distance": Steering(_N_RADII, _by_distance),
    "distance and age": Steering(_N_RADII, _by_distance_and_age),
    "city": Steering(len(CITIES), _by_city),
}
_WAYS_OF_SHARE = {
    0.3: ("age", "age and gender", "kilometres sought"),
    0.1: ("age", "age and gender", "ages sought", "kilometres sought"),
    0.05: ("age and gender", "ages sought", "city", "distance"),
    0.01: ("ages sought", "city", "distance", "distance and age"),
    0.001: ("city", "distance", "distance and age"),
    0.0001: ("distance", "distance and age"),
}


def cases(people: People, share: float, variety: str, n_cases: int, count: Count) -> Iterator[Case]:
    """`n_cases` cases of one cell. `count` tells how many are eligible. Raises RuntimeError when people are too few for it."""
    rng = np.random.default_rng((SHARES.index(share), VARIETIES.index(variety)))
    found = 0
    for _ in range(50 * n_cases):
        if found == n_cases:
            return
        row = int(rng.integers(len(people)))
        person = people.profiles.get(row)
        if share == 1:
            case: Case | None = Case(share, variety, "everyone", row, _only(person), Filters())
        elif person.latitude is None:
            continue
        elif variety == "independent":
            case = _tagged(person, share, len(people), count)
        else:
            way = str(rng.choice(_WAYS_OF_SHARE[share]))
            case = _steered(person, _age(person, rng), way, share * len(people), count)
        if case is not None:
            found += 1
            yield msgspec.structs.replace(case, share=share, row=row)
    raise RuntimeError(f"no {variety} filters leave {share:.2%} of {len(people):,} people")


def _tagged(person: Profile, share: float, n_people: int, count: Count) -> Case | None:
    """Anybody at the person's place who asks for the tag of a share; None when too many or too few accept the distance."""
    viewer, filters = _placed(person, None), Filters(interests=(TAGS[TAG_SHARES.index(share)],))
    close = _close(count(viewer, filters), share * n_people)
    return Case(share, "independent", "tag", 0, viewer, filters) if close else None


def _steered(person: Profile, age: int, way: str, wanted: float, count: Count) -> Case | None:
    """The least knob that leaves as many as are wanted, or the one below it when that is too many; None when neither is close.

    Where the highest leaves too few, a little fewer than it does are wanted, so that what is steered still cuts.
    """
    steering = WAYS[way]
    low, high = 0, steering.n_knobs - 1
    enough = min(wanted, count(*steering.at(person, age, high)) / _LEAST_CUT)
    while low < high:
        middle = (low + high) // 2
        if count(*steering.at(person, age, middle)) < enough:
            low = middle + 1
        else:
            high = middle
    for knob in (low, max(0, low - 1)):
        viewer, filters = steering.at(person, age, knob)
        if _close(count(viewer, filters), wanted):
            return Case(0, "correlated", way, 0, viewer, filters)
    return None


def _close(n_passing: int, wanted: float) -> bool:
    return abs(n_passing - wanted) <= _FEW or wanted / TOLERANCE <= n_passing <= wanted * TOLERANCE


def _only(person: Profile, *names: str) -> Profile:
    """Somebody of whom only these attributes of a person are known."""
    known = {name: getattr(person, name) for name in names}
    return Profile(id=person.id, name=person.name, created_at=person.created_at, **known)


def _placed(person: Profile, seeks_max_km: float | None, *names: str) -> Profile:
    """The same with the person's place, and with these kilometres sought."""
    return msgspec.structs.replace(_only(person, "latitude", "longitude", *names), seeks_max_km=seeks_max_km)


def _age(person: Profile, rng: np.random.Generator) -> int:
    """The age to look for: mostly the viewer's, else any, far from their tastes perhaps."""
    anyone = int(np.clip(18 + rng.gamma(2.2, 7), 18, 80))
    return person.age if person.age is not None and rng.random() < _CENTRE_IS_OWN else anyone


def _ages(age: int, width: int) -> Filters:
    return Filters(min_age=max(18, age - width), max_age=min(_OLDEST, age + width))


def _wide_km(knob: int) -> float:
    """Kilometres to go with ages `knob` years to both sides: 900 with 4, where .3 of all live, 1,450 with 20, where half do."""
    return float(_WIDE_KM * _WIDER**knob)


def _km(knob: int) -> float:
    return float(0.5 * 1.12**knob)
