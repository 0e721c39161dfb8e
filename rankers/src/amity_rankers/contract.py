"""Everything that the author of a ranker or of a candidate source imports.

A **ranker** turns a batch of features into probabilities of a match. Its **factory**, registered under the entry-point group
`amity.rankers`, trains it and moves it to and from plain arrays. A **candidate source**, registered under `amity.sources`,
finds people for a viewer. The service owns spans, deadlines, fallbacks and storage; a plug-in holds only its idea: no I/O,
no clock, no global randomness.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

CONTRACT_VERSION = 1
"""Raised when an existing plug-in would have to change. A plug-in of another version is refused with the reason."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class RankingBatch:
    """One viewer's candidates, ready to be scored.

    `candidate_ids`: int64, shape (n,). `features`: float32, shape (n, len(names)), C-contiguous; a missing value is NaN only
    where the feature's definition says so, and is otherwise filled with the definition's default. `names` are the
    ranker's `required_features`, in its order.
    """

    viewer_id: int
    candidate_ids: Ids
    names: tuple[str, ...]
    features: Floats

    def column(self, name: str) -> Floats:
        """One feature, float32, shape (n,). Raises ValueError for a name that was not required."""
        return self.features[:, self.names.index(name)]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingExamples:
    """Pairs whose outcome is known, grouped by viewer.

    `features`: float32, shape (n, len(names)). `matched`: float32 of 0 and 1, shape (n,): both liked each other. `weights`:
    float32, shape (n,), positive. `viewer_ids` and `candidate_ids`: int64, shape (n,); rows of one viewer are contiguous. The
    `calibration` mask, bool (n,), marks the rows (the latest in time) that are not for fitting but for turning scores into
    probabilities. `seed` is the only source of randomness.
    """

    viewer_ids: Ids
    candidate_ids: Ids
    names: tuple[str, ...]
    features: Floats
    matched: Floats
    weights: Floats
    calibration: Mask
    seed: int


class Ranker(Protocol):
    """Scores a batch: float32, shape (n,), finite, in [0, 1], the probability of a match. Safe to call from two threads."""

    def score(self, batch: RankingBatch) -> Floats: ...


@runtime_checkable
class ExplainingRanker(Ranker, Protocol):
    """A ranker that can also say why. Whoever lacks `contributions` cannot explain, and the service says so to those who ask."""

    def contributions(self, batch: RankingBatch) -> Floats:
        """What each feature adds to a candidate's log-odds of a match, against the average example of the training: float32,
        shape (n, len(batch.names)), columns in the order of `batch.names`, finite; positive speaks for the candidate.

        Taken from the model itself: coefficients times standardised values, SHAP values of trees. Before calibration, which
        bends all candidates alike: of two candidates the one with the larger sum has the higher score. For a slate or a few
        hundred candidates, under a deadline like `score`, and as safe to call from two threads.
        """
        ...


class RankerFactory(Protocol):
    """What an entry point of the group `amity.rankers` names: a class without constructor arguments. Plain class attributes
    do for its properties.

    `version` names the plug-in's own release; it is part of the key under which ranked pools are cached, so raise it when
    scores change. `needs_bundle` is False for a ranker that learns nothing. `light` says that scoring 2,000 candidates takes
    well under a millisecond (the service runs its own light rankers without a thread hop).
    """

    @property
    def contract_version(self) -> int: ...
    @property
    def version(self) -> str: ...
    @property
    def required_features(self) -> tuple[str, ...]: ...
    @property
    def needs_bundle(self) -> bool: ...
    @property
    def light(self) -> bool: ...

    def train(self, examples: TrainingExamples) -> Ranker:
        """Fit on `examples`; those with `needs_bundle = False` return a ready ranker."""
        ...

    def dump(self, ranker: Any) -> Arrays:
        """The ranker as named plain arrays (no object dtype; text as uint8). Pickles are refused."""
        ...

    def load(self, arrays: Arrays) -> Ranker:
        """The inverse of `dump`. `arrays` is empty for a ranker without a bundle. Raises ValueError when they do not fit."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a source found, best first: `ids` int64 (k,), unique; `scores` float32 (k,), comparable only within the source."""

    ids: Ids
    scores: Floats


class People(Protocol):
    """The people a source may choose from: everyone eligible for this viewer and this request. Read-only.

    Rows are positions in the population's arrays; they mean nothing beyond one call of `find`, and differ between replicas:
    what a source finds must not depend on them.
    """

    @property
    def viewer_id(self) -> int: ...

    @property
    def n_eligible(self) -> int: ...

    @property
    def liked_by(self) -> Ids:
        """int64 (k,): eligible people who like the viewer and await an answer, in no particular order."""
        ...

    def search(self, space: str, query: Floats, k: int) -> Found:
        """The k eligible people with the largest inner product with `query`, best first, ties by id; k whenever k
        are eligible and have a vector.

        Exact where few are eligible or few exist at all; else nearly all of the true k, as measured when the bundle was built.
        `space` is `mutual` (interest in both directions) or `content` (what profiles say; unit vectors).
        """
        ...

    def viewer_vector(self, space: str) -> Floats | None:
        """The viewer's query vector for a space, float32 (d,); None while nothing is known about the viewer."""
        ...

    def draw(self, k: int, seed: int) -> Ids:
        """min(k, n_eligible) of the eligible ids, each with the same probability, in random order, by `seed`."""
        ...

    def newest(self, k: int, since_s: float, seed: int) -> tuple[Ids, NDArray[np.float64]]:
        """The k eligible people who joined last, and not before `since_s`, newest first, ties by lot; and when they joined,
        float64 (k,), both in seconds since 1970. Who joined at an unknown time is not among them."""
        ...

    def eligible_ids(self) -> Ids:
        """All eligible ids, int64 (n_eligible,): as many numbers as people, which may be a million. `draw`, `newest` and `search`
        look at a few."""
        ...

    def column(self, name: str) -> NDArray[Any]:
        """A column aligned with `eligible_ids()`: `age` float32 (NaN unknown), `created_at_s`, `last_active_at_s` float64
        (seconds since 1970, NaN unknown), `n_likes_received` int32, `distance_km` float32 (NaN unknown)."""
        ...


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """How many to find, at what time (seconds since 1970), and the seed for whoever draws."""

    k: int
    now_s: float
    seed: int


@runtime_checkable
class CandidateSource(Protocol):
    """What an entry point of the group `amity.sources` names: a class without constructor arguments.

    `find` runs in a thread under a deadline. Fewer than k is fine; an id that is not eligible is dropped by the service.
    """

    @property
    def contract_version(self) -> int: ...
    @property
    def version(self) -> str: ...

    def find(self, people: People, query: SourceQuery) -> Found: ...
