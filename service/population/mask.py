"""Who may be shown to a viewer by what both are and seek, for everyone at once.

The same rule as for one pair: an unknown age, gender or place does not fail a preference, and does fail a filter of the
request. `BaseMask` decides it for the people of a base with bitmaps made beforehand, `eligible_rows` for any rows, column by
column; they agree exactly. Neither looks at who is active, hidden or the viewer: that is the caller's. What interactions decide
(blocks, passes, seen) is left out by the view, from relations that are fresher.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Filters, Profile
from service.features.geography import squared_chord_of_km, squared_chords, unit_vector
from service.population.attributes import Categories, Cumulative, planes_at_least
from service.population.bits import Mask, Words, count, sift
from service.population.places import Places, Reach
from service.population.vocabulary import Vocabularies, Vocabulary

Arrays = Mapping[str, NDArray[Any]]
_Genders = tuple[str | None, tuple[str, ...]]
"""A viewer's own, and those sought."""

_DAY_S = 86_400.0

_FEW = 64
"""Where fewer than one row in 64 passes, what changes from day to day is read for these alone; else the column is compared."""

_MOST_MATCHED = 32
"""Pairs of a gender and those sought whose bitmaps are kept, at an eighth of a byte a person each. Most people are of a few."""


class BaseMask:
    """The bitmaps of the people of a base: about 60 bytes a person, made in 0.3 s a million.

    Texts that came into the vocabularies later are those of nobody here.
    """

    def __init__(self, columns: Arrays, words: Vocabularies) -> None:
        """`columns`: those stored, by row, with `place` float64 (n, 3), `seeks_max_chord` float64 (n,), `interest_starts`
        (n + 1,) and `interests`. `last_active_at_s` may change in place afterwards, others may not."""
        self._columns = columns
        self._words = words
        self._n_rows = n_rows = len(columns["id"])
        self._gender = Categories(columns["gender"], n_rows)
        self._seeks = Categories(columns["seeks_genders"], n_rows)
        self._location = Categories(columns["location"], n_rows)
        self._interests = Categories(columns["interests"], n_rows, columns["interest_starts"])
        self._age = Cumulative(np.asarray(columns["age"], np.float32))
        # Negated: whether it is at most an age is asked, and what is asked of bounds kept needs no joining.
        self._seeks_no_younger = Cumulative(-np.asarray(columns["seeks_min_age"], np.float32))
        self._seeks_max_age = Cumulative(np.asarray(columns["seeks_max_age"], np.float32))
        self._places = Places(columns["place"], columns["seeks_max_chord"])
        self._matched: dict[_Genders, Words] = {}

    def eligible(self, viewer: Profile, filters: Filters, now_s: float, shown: Words) -> Words:
        """Those of `shown` who and the viewer are what the other seeks, and who pass the request's filters.

        Nobody passes `max_km` when the viewer's place is unknown.
        """
        mask = shown & self._seeking_each_other(viewer.gender, viewer.seeks_genders)
        self._fit_in_age(mask, viewer)
        self._pass_filters(mask, filters)
        self._near_enough(mask, viewer, filters.max_km)
        if filters.active_within_days is not None:
            self._active_since(mask, now_s - filters.active_within_days * _DAY_S)
        return mask

    def _fit_in_age(self, mask: Words, viewer: Profile) -> None:
        if viewer.seeks_min_age is not None:
            mask &= self._age.not_below(viewer.seeks_min_age)
        if viewer.seeks_max_age is not None:
            mask &= self._age.not_above(viewer.seeks_max_age)
        if viewer.age is not None:
            mask &= self._seeks_no_younger.at_least(-viewer.age)
            mask &= self._seeks_max_age.at_least(viewer.age)

    def _seeking_each_other(self, gender: str | None, sought: tuple[str, ...]) -> Words:
        """Who seeks people of a gender, and is of one of those sought; kept for the pairs asked for, since nothing changes it:
        texts that come later are those of nobody here."""
        found = self._matched.get((gender, sought))
        if found is None:
            found = self._gender.accepted(self._words.seeks.acceptance(sought)[:-1])
            if gender is not None:
                found = found & self._seeks.accepted(self._words.seeks.accepting(gender))
            if len(self._matched) >= _MOST_MATCHED:
                self._matched.clear()
            self._matched[gender, sought] = found
        return found

    def _pass_filters(self, mask: Words, filters: Filters) -> None:
        if filters.min_age is not None:
            mask &= self._age.at_least(filters.min_age)
        if filters.max_age is not None:
            mask &= self._age.at_most(filters.max_age)
        if filters.genders:
            mask &= self._gender.any_of(self._words.genders.codes(filters.genders).tolist())
        if filters.locations:
            mask &= self._location.any_of(self._words.locations.codes(filters.locations).tolist())
        if filters.interests:
            mask &= self._interests.any_of(self._words.interests.codes(filters.interests).tolist())

    def _near_enough(self, mask: Words, viewer: Profile, max_km: float | None) -> None:
        here = _place(viewer)
        if here is not None:
            within = None if max_km is None else float(squared_chord_of_km(max_km))
            self._places.keep_near(mask, Reach(here, _seeks_chord(viewer), within))
        elif max_km is not None:
            mask[:] = 0

    def _active_since(self, mask: Words, since_s: float) -> None:
        seen = self._columns["last_active_at_s"][: self._n_rows]
        if count(mask) * _FEW < self._n_rows:
            sift(mask, lambda rows: np.asarray(seen.take(rows) >= since_s, np.bool_))
        else:
            mask &= planes_at_least(seen, np.array([since_s]))[0]


def eligible_rows(columns: Arrays, words: Vocabularies, viewer: Profile, filters: Filters, now_s: float) -> Mask:
    """The same for whatever rows `columns` (of the same names) have, bool (rows,): each is what the other seeks, and passes the
    request's filters."""
    mask: Mask = np.ones(len(columns["id"]), np.bool_)
    _seek_each_other(mask, columns, words, viewer)
    _near_enough(mask, columns, viewer, filters.max_km)
    _pass_filters(mask, columns, words, filters)
    if filters.active_within_days is not None:
        mask &= columns["last_active_at_s"] >= now_s - filters.active_within_days * _DAY_S
    return mask


def _seek_each_other(mask: Mask, columns: Arrays, words: Vocabularies, viewer: Profile) -> None:
    if viewer.seeks_genders:
        mask &= words.seeks.acceptance(viewer.seeks_genders)[columns["gender"]]
    if viewer.gender is not None:
        mask &= words.seeks.accepting(viewer.gender)[columns["seeks_genders"]]
    age = columns["age"]
    if viewer.seeks_min_age is not None:
        mask &= ~(age < viewer.seeks_min_age)
    if viewer.seeks_max_age is not None:
        mask &= ~(age > viewer.seeks_max_age)
    if viewer.age is not None:
        mask &= columns["seeks_min_age"] <= viewer.age
        mask &= columns["seeks_max_age"] >= viewer.age


def _near_enough(mask: Mask, columns: Arrays, viewer: Profile, max_km: float | None) -> None:
    here = _place(viewer)
    if here is None:
        if max_km is not None:
            mask[:] = False
        return
    chords = squared_chords(columns["place"], here)
    mask &= ~(chords > np.minimum(columns["seeks_max_chord"], _seeks_chord(viewer)))
    if max_km is not None:
        mask &= chords <= squared_chord_of_km(max_km)


def _pass_filters(mask: Mask, columns: Arrays, words: Vocabularies, filters: Filters) -> None:
    if filters.min_age is not None:
        mask &= columns["age"] >= filters.min_age
    if filters.max_age is not None:
        mask &= columns["age"] <= filters.max_age
    if filters.genders:
        mask &= _any_of(words.genders, filters.genders)[columns["gender"]]
    if filters.locations:
        mask &= _any_of(words.locations, filters.locations)[columns["location"]]
    if filters.interests:
        mask &= _with_interest(columns, _any_of(words.interests, filters.interests))


def _place(viewer: Profile) -> NDArray[np.float64] | None:
    if viewer.latitude is None or viewer.longitude is None:
        return None
    return unit_vector(viewer.latitude, viewer.longitude)


def _seeks_chord(viewer: Profile) -> float:
    """The squared chord that the viewer's preference allows, infinite for none."""
    return np.inf if viewer.seeks_max_km is None else float(squared_chord_of_km(viewer.seeks_max_km))


def _any_of(vocabulary: Vocabulary, texts: tuple[str, ...]) -> Mask:
    """By code whether it is one of `texts`; the last entry, which -1 indexes, is the unknown: False."""
    wanted = np.zeros(len(vocabulary) + 1, np.bool_)
    wanted[vocabulary.codes(texts)] = True
    return wanted


def _with_interest(columns: Arrays, wanted: Mask) -> Mask:
    """Rows that name any of the interests: marks the codes, then asks by running sums whether a row's span holds a mark."""
    codes, starts = columns["interests"], columns["interest_starts"]
    before = np.zeros(len(codes) + 1, np.int32)
    np.cumsum(wanted[codes], out=before[1:])
    return np.asarray(before[starts[1:]] > before[starts[:-1]], np.bool_)
