"""An in-memory `People` of plain lists, to try candidate sources on without the service."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amity_rankers.contract import Floats, Found, Ids

NOW_S = 1_795_000_000.0
"""The time in the crowds made here, seconds since 1970."""
SPACES = ("mutual", "content")
COLUMNS: dict[str, tuple[type[np.generic], float]] = {
    "age": (np.float32, np.nan),
    "created_at_s": (np.float64, np.nan),
    "last_active_at_s": (np.float64, np.nan),
    "n_likes_received": (np.int32, 0),
    "distance_km": (np.float32, np.nan),
}
"""Each with its dtype and what stands for unknown."""


class ListPeople:
    """The eligible people of one request. Whatever is not given is unknown.

    `vectors`: by space, float32 (n, d), rows in the order of `ids`. `viewer_vectors`: by space, float32 (d,). `columns`: by name,
    (n,) in the order of `ids`.
    """

    def __init__(
        self,
        ids: ArrayLike,
        liked_by: Iterable[int] = (),
        vectors: Mapping[str, ArrayLike] | None = None,
        viewer_vectors: Mapping[str, ArrayLike] | None = None,
        columns: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        self.viewer_id = 1
        self._ids = _fixed(ids, np.int64)
        self.n_eligible = len(self._ids)
        self.liked_by: Ids = _fixed(list(liked_by), np.int64)
        self._vectors = {space: _fixed(values, np.float32) for space, values in (vectors or {}).items()}
        self._viewer = {space: _fixed(values, np.float32) for space, values in (viewer_vectors or {}).items()}
        given = columns or {}
        self._columns = {
            name: _fixed(given.get(name, np.full(self.n_eligible, unknown)), dtype) for name, (dtype, unknown) in COLUMNS.items()
        }

    def shuffled(self, seed: int) -> "ListPeople":
        """The same people in other rows, as another replica may hold them."""
        order = np.random.default_rng(seed).permutation(self.n_eligible)
        return ListPeople(
            self._ids[order],
            self.liked_by[::-1].tolist(),
            {space: values[order] for space, values in self._vectors.items()},
            self._viewer,
            {name: values[order] for name, values in self._columns.items()},
        )

    def search(self, space: str, query: Floats, k: int) -> Found:
        if space not in SPACES:
            raise ValueError(f"no space {space!r}; there are {', '.join(SPACES)}")
        if space not in self._vectors or not self.n_eligible:
            return Found(np.empty(0, np.int64), np.empty(0, np.float32))
        scores = self._vectors[space] @ np.asarray(query, np.float32)
        best = np.lexsort((self._ids, -scores))[: max(k, 0)]
        return Found(self._ids[best], scores[best])

    def viewer_vector(self, space: str) -> Floats | None:
        return self._viewer.get(space)

    def draw(self, k: int, seed: int) -> Ids:
        n_drawn = max(0, min(k, self.n_eligible))
        return np.random.default_rng(seed).choice(np.sort(self._ids), n_drawn, replace=False)

    def newest(self, k: int, since_s: float, seed: int) -> tuple[Ids, NDArray[np.float64]]:
        order = np.argsort(self._ids)
        joined_s = self._columns["created_at_s"][order]
        new = np.flatnonzero(joined_s >= since_s)
        lot = np.random.default_rng(seed).permutation(len(new))
        best = new[np.lexsort((lot, -joined_s[new]))[: max(k, 0)]]
        return self._ids[order][best], joined_s[best]

    def eligible_ids(self) -> Ids:
        return self._ids

    def column(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise ValueError(f"no column {name!r}; there are {', '.join(self._columns)}")
        return self._columns[name]


def crowd(
    n: int, *, seed: int = 0, viewer_vectors: bool = True, n_admirers: int | None = None, unknown: float = 0.1
) -> ListPeople:
    """n people with ids, vectors in both spaces and columns drawn by `seed`; a share `unknown` of each column is unknown.

    `viewer_vectors` False: nothing is known about the viewer. `n_admirers` (a tenth when None) like the viewer.
    """
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.arange(2, 20 * n + 2), n, replace=False)
    vectors = {space: rng.normal(size=(n, 8)) for space in SPACES}
    vectors["content"] /= np.maximum(np.linalg.norm(vectors["content"], axis=1, keepdims=True), 1e-9)
    columns: dict[str, NDArray[Any]] = {
        "age": rng.integers(18, 80, n).astype(np.float32),
        "created_at_s": NOW_S - rng.gamma(1.0, 90 * 86_400, n),
        "last_active_at_s": NOW_S - rng.gamma(1.0, 9 * 86_400, n),
        "distance_km": rng.gamma(1.0, 60.0, n).astype(np.float32),
    }
    for values in columns.values():
        values[rng.random(n) < unknown] = np.nan
    columns["n_likes_received"] = rng.poisson(5.0, n)
    admirers = rng.permutation(ids)[: n // 10 if n_admirers is None else n_admirers]
    viewer = {"mutual": rng.normal(size=8), "content": _unit(rng.normal(size=8))} if viewer_vectors else {}
    return ListPeople(ids, admirers.tolist(), vectors, viewer, columns)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def _fixed(values: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
    """A copy that cannot be written to: sources read."""
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array
