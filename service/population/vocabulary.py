"""Open vocabularies: texts of profiles as small integers, compared without case."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1


class Vocabulary:
    """Codes 0, 1, 2 … for texts, casefolded. A text never seen before gets the next code when it is added."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._codes: dict[str, int] = {}
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, text: str) -> int:
        return self._codes.setdefault(text.casefold(), len(self._codes))

    def code(self, text: str | None) -> int:
        """The code of a text, UNKNOWN (-1) for None and for one that nobody has."""
        return UNKNOWN if text is None else self._codes.get(text.casefold(), UNKNOWN)

    def codes(self, texts: Iterable[str]) -> NDArray[np.int32]:
        """Codes of those texts that somebody has, sorted, without repetition, int32."""
        found = {self._codes.get(text.casefold(), UNKNOWN) for text in texts} - {UNKNOWN}
        return np.array(sorted(found), np.int32)

    def texts(self) -> list[str]:
        """All texts, in the order of their codes."""
        return list(self._codes)


class SeekVocabulary:
    """Sets of genders that are sought, as codes; code 0 is the empty set, which accepts anyone."""

    def __init__(self, genders: Vocabulary, sets: Iterable[tuple[str, ...]] = ()) -> None:
        self._genders = genders
        self._codes: dict[tuple[str, ...], int] = {(): 0}
        # By set and gender, the last column for all other genders. Replaced whole: masks are made in threads.
        self._table = np.ones((1, 1), np.bool_)
        for members in sets:
            self.add(members)

    def add(self, sought: Iterable[str]) -> int:
        """The code of a set of genders; its members become known genders."""
        members = tuple(sorted({gender.casefold() for gender in sought}))
        if members not in self._codes:
            for gender in members:
                self._genders.add(gender)
            self._codes[members] = len(self._codes)
            self._table = self._made()
        return self._codes[members]

    def sets(self) -> list[tuple[str, ...]]:
        """All sets, in the order of their codes."""
        return list(self._codes)

    def accepting(self, gender: str) -> NDArray[np.bool_]:
        """By code of a set whether it accepts a gender, bool (n_sets,). One that nobody had or sought when the last set was added
        is accepted by those who seek anyone."""
        table, code = self._table, self._genders.code(gender)
        return table[:, code] if 0 <= code < table.shape[1] else table[:, -1]

    def acceptance(self, sought: Iterable[str]) -> NDArray[np.bool_]:
        """By code of a gender whether a set, which need not be known, accepts it, bool (n_genders + 1,); the last, which -1
        indexes, is the unknown gender: it fails no preference."""
        members = tuple(sought)
        codes = self._genders.codes(members)  # before they are counted: the event loop may add some meanwhile
        row = np.full(len(self._genders) + 1, not members, np.bool_)
        row[codes] = True
        row[-1] = True
        return row

    def _made(self) -> NDArray[np.bool_]:
        table = np.zeros((len(self._codes), len(self._genders) + 1), np.bool_)
        table[0] = True
        for members, code in self._codes.items():
            table[code, self._genders.codes(members)] = True
        return table


class Vocabularies:
    """The four that a population keeps."""

    def __init__(
        self,
        genders: Iterable[str] = (),
        locations: Iterable[str] = (),
        interests: Iterable[str] = (),
        seeks: Iterable[tuple[str, ...]] = (),
    ) -> None:
        self.genders = Vocabulary(genders)
        self.locations = Vocabulary(locations)
        self.interests = Vocabulary(interests)
        self.seeks = SeekVocabulary(self.genders, seeks)
