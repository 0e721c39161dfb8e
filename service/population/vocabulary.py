"""Open vocabularies: texts of profiles as small integers, compared without case."""

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1

_NONE = array("i")


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
    """Sets of genders that are sought, as codes; code 0 is the empty set, which accepts anyone.

    Genders are free text, and 1,000 people may bring 50 new ones each in one request: a table of all sets by all genders, made
    anew for each set, held every replica for 15 s. So each gender keeps the sets that hold it, and a new set costs what its
    members do.
    """

    def __init__(self, genders: Vocabulary, sets: Iterable[tuple[str, ...]] = ()) -> None:
        self._genders = genders
        self._codes: dict[tuple[str, ...], int] = {(): 0}
        # By code of a gender, the codes of the sets that hold it.
        self._holders: dict[int, array[int]] = {}
        for members in sets:
            self.add(members)

    def add(self, sought: Iterable[str]) -> int:
        """The code of a set of genders; its members become known genders."""
        members = tuple(sorted({gender.casefold() for gender in sought}))
        code = self._codes.get(members)
        if code is None:
            code = self._codes[members] = len(self._codes)
            for gender in members:
                self._holders.setdefault(self._genders.add(gender), array("i")).append(code)
        return code

    def sets(self) -> list[tuple[str, ...]]:
        """All sets, in the order of their codes."""
        return list(self._codes)

    def accepting(self, gender: str) -> NDArray[np.bool_]:
        """By code of a set whether it accepts a gender, bool (n_sets,). One that nobody seeks is accepted by those who seek
        anyone. Safe in threads."""
        holders = self._holders.get(self._genders.code(gender), _NONE)
        # Copied in one step, and before sets are counted: the event loop may add some meanwhile.
        codes = np.frombuffer(holders.tobytes(), np.intc)
        row = np.zeros(len(self._codes), np.bool_)
        row[0] = True
        row[codes] = True
        return row

    def acceptance(self, sought: Iterable[str]) -> NDArray[np.bool_]:
        """By code of a gender whether a set, which need not be known, accepts it, bool (n_genders + 1,); the last, which -1
        indexes, is the unknown gender: it fails no preference."""
        members = tuple(sought)
        codes = self._genders.codes(members)  # before they are counted: the event loop may add some meanwhile
        row = np.full(len(self._genders) + 1, not members, np.bool_)
        row[codes] = True
        row[-1] = True
        return row


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
