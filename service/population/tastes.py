"""The vectors of a population: what people like, how they are liked, what their profiles say; and how newcomers get theirs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain import Profile
from service.features.content import ContentEncoder
from service.population.vectors import Rows, Space

Floats = NDArray[np.float32]

SPACES = ("mutual", "content")


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

    def put(self, row: int, previous: int | None, profile: Profile) -> None:
        """Vectors for an appended row: content from the profile as it is now; tastes kept, or predicted for a newcomer."""
        mutual = None if previous is None else self.spaces["mutual"].get(previous)
        if self.encoder is None:
            content = None if previous is None else self.spaces["content"].get(previous)
        else:
            content = self.encoder.encode(profile)
            if mutual is None:
                p, q = self.encoder.cold_vectors(content)
                mutual = np.concatenate((q, p))
        self.spaces["mutual"].put(row, mutual)
        self.spaces["content"].put(row, content)

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
            p, q = self.encoder.cold_vectors(content)
            mutual = np.concatenate((q, p))
        return mutual, content
