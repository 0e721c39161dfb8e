"""The vectors of a population: what people like, how they are liked, what their profiles say; and how newcomers get theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile
from service.features.content import ContentEncoder
from service.population.vectors import Rows, Space

Floats = NDArray[np.float32]

SPACES = ("mutual", "content")


@dataclass(frozen=True, slots=True)
class Placed:
    """A profile put into a row; `previous` is the row, the same perhaps, that the same person had before."""

    row: int
    previous: int | None
    profile: Profile


class Tastes:
    """Both spaces. A person's item in `mutual` is (q, p); a viewer asks with (p, q).

    `mutual`: float32 (n, 2f), `content`: float32 (n, c) of unit length, rows as in the population's base. Without an encoder
    a newcomer has no vectors, and who changes keeps the old ones. Raises ValueError when they do not fit each other.
    """

    def __init__(self, mutual: NDArray[Any], content: NDArray[Any], encoder: ContentEncoder | None) -> None:
        if mutual.ndim != 2 or content.ndim != 2 or len(mutual) != len(content) or mutual.shape[1] % 2:
            raise ValueError(f"vectors of shapes {mutual.shape} and {content.shape} do not fit each other")
        self.n_factors = mutual.shape[1] // 2
        if encoder and (encoder.n_factors, encoder.n_content) != (self.n_factors, content.shape[1]):
            raise ValueError("the content encoder makes vectors of other lengths than the bundle's")
        self.encoder = encoder
        self.spaces = {"mutual": Space(mutual), "content": Space(content)}

    def put(self, placed: Sequence[Placed]) -> None:
        """Vectors for appended rows: content from profiles as they are now; tastes kept, or predicted for newcomers.

        Encoding 25 profiles at once takes a quarter of the time that one by one takes.
        """
        contents = None if self.encoder is None else self.encoder.encode_many([each.profile for each in placed])
        for index, each in enumerate(placed):
            mutual, content = (
                (None, None) if each.previous is None else (space.get(each.previous) for space in self.spaces.values())
            )
            if self.encoder is not None and contents is not None:
                content = contents[index]
                mutual = self._predicted(self.encoder, content) if mutual is None else mutual
            self.spaces["mutual"].put(each.row, mutual)
            self.spaces["content"].put(each.row, content)

    def p(self, mutual: Floats) -> Floats:
        """The part of `mutual` items that says what they like, float32 (..., f)."""
        return mutual[..., self.n_factors :]

    def q(self, mutual: Floats) -> Floats:
        """The part of `mutual` items that says how they are liked, float32 (..., f)."""
        return mutual[..., : self.n_factors]

    def query(self, mutual: Floats) -> Floats:
        """What somebody with this item asks the `mutual` space: (p, q)."""
        return np.concatenate((self.p(mutual), self.q(mutual)))

    def gather(self, rows: Rows) -> tuple[Floats, Floats]:
        """`mutual` and `content` vectors of rows; NaN for rows without."""
        return self.spaces["mutual"].gather(rows), self.spaces["content"].gather(rows)

    def of_profile(self, profile: Profile, row: int | None, same: bool) -> tuple[Floats | None, Floats | None]:
        """(mutual, content) of a person whose row, if any, holds this very profile (`same`) or an older one."""
        mutual = None if row is None else self.spaces["mutual"].get(row)
        content = None if row is None else self.spaces["content"].get(row)
        if self.encoder is not None and (content is None or not same):
            content = self.encoder.encode(profile)
        if self.encoder is not None and mutual is None and content is not None:
            mutual = self._predicted(self.encoder, content)
        return mutual, content

    def _predicted(self, encoder: ContentEncoder, content: Floats) -> Floats:
        p, q = encoder.cold_vectors(content)
        return np.concatenate((q, p))
