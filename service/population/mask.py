"""Who may be shown to a viewer by what both are and seek, for everyone at once.

The same rule as for one pair: an unknown age, gender or place does not fail a preference, and does fail a filter of the
request. What interactions decide (blocks, passes, seen) is left out by the view, from relations that are fresher.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Filters, Profile
from service.features.geography import squared_chord_of_km, squared_chords, unit_vectors
from service.population.columns import Columns
from service.population.vocabulary import Vocabularies, Vocabulary

Mask = NDArray[np.bool_]

_DAY_S = 86_400.0


def eligible_mask(columns: Columns, words: Vocabularies, viewer: Profile, filters: Filters, now_s: float) -> Mask:
    """Bool, shape (rows,): active, not the viewer, each what the other seeks, and passing the request's filters.

    Nobody passes `max_km` when the viewer's place is unknown.
    """
    mask: Mask = columns["shown"] & (columns["id"] != viewer.id)
    _seek_each_other(mask, columns, words, viewer)
    _near_enough(mask, columns, viewer, filters.max_km)
    _pass_filters(mask, columns, words, filters)
    if filters.active_within_days is not None:
        mask &= columns["last_active_at_s"] >= now_s - filters.active_within_days * _DAY_S
    return mask


def _seek_each_other(mask: Mask, columns: Columns, words: Vocabularies, viewer: Profile) -> None:
    if viewer.seeks_genders:
        mask &= words.seeks.acceptance(viewer.seeks_genders)[columns["gender"]]
    if viewer.gender is not None:
        gender = words.genders.code(viewer.gender)
        accepts = words.seeks.accepts()
        # A gender that nobody has or seeks yet is accepted only by those who seek anyone: set 0.
        accepted = accepts[:, gender] if gender >= 0 else np.arange(len(accepts)) == 0
        mask &= accepted[columns["seeks_genders"]]
    age = columns["age"]
    if viewer.seeks_min_age is not None:
        mask &= ~(age < viewer.seeks_min_age)
    if viewer.seeks_max_age is not None:
        mask &= ~(age > viewer.seeks_max_age)
    if viewer.age is not None:
        mask &= columns["seeks_min_age"] <= viewer.age
        mask &= columns["seeks_max_age"] >= viewer.age


def _near_enough(mask: Mask, columns: Columns, viewer: Profile, max_km: float | None) -> None:
    if viewer.latitude is None or viewer.longitude is None:
        if max_km is not None:
            mask[:] = False
        return
    here = unit_vectors(viewer.latitude, viewer.longitude)
    chords = squared_chords(columns["place"], here)
    limit: Any = columns["seeks_max_chord"]
    if viewer.seeks_max_km is not None:
        limit = np.minimum(limit, squared_chord_of_km(viewer.seeks_max_km))
    mask &= ~(chords > limit)
    if max_km is not None:
        mask &= chords <= squared_chord_of_km(max_km)


def _pass_filters(mask: Mask, columns: Columns, words: Vocabularies, filters: Filters) -> None:
    if filters.min_age is not None:
        mask &= columns["age"] >= filters.min_age
    if filters.max_age is not None:
        mask &= columns["age"] <= filters.max_age
    if filters.genders:
        mask &= _any_of(words.genders, filters.genders)[columns["gender"]]
    if filters.locations:
        mask &= _any_of(words.locations, filters.locations)[columns["location"]]
    if filters.interests:
        mask &= _with_interest(columns, words, filters.interests)


def _any_of(vocabulary: Vocabulary, texts: tuple[str, ...]) -> Mask:
    """By code whether it is one of `texts`; the last entry, which -1 indexes, is the unknown: False."""
    wanted = np.zeros(len(vocabulary) + 1, np.bool_)
    wanted[vocabulary.codes(texts)] = True
    return wanted


def _with_interest(columns: Columns, words: Vocabularies, texts: tuple[str, ...]) -> Mask:
    """Rows that name any of the interests: marks the codes, then asks by running sums whether a row's span holds a mark."""
    codes = columns.interests
    before = np.zeros(len(codes) + 1, np.int32)
    np.cumsum(_any_of(words.interests, texts)[codes], out=before[1:])
    starts = columns["interest_starts"]
    return np.asarray(before[starts + columns["n_interests"]] > before[starts], np.bool_)
