"""What an experiment has seen so far, as columns: the seam between the SQL that counts and the statistics that judge. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PRE_PERIOD_DAYS = 28
"""How far before the start behaviour is taken for adjustment: four whole weeks, so that every weekday counts alike."""


_WHOLE = frozenset({"unit", "arm", "first_day"})


class BadOutcomes(ValueError):
    """Columns that cannot be of one experiment: the message names the column and what is wrong with it."""


class _Columns:
    """What both tables share: they are checked once, when made, and then trusted."""

    unit: Ints
    days: int

    def __post_init__(self) -> None:
        """Raises BadOutcomes for columns of unequal length or more than one dimension, and for numbers that are
        negative or not finite."""
        if self.days < 0:
            raise BadOutcomes(f"days must be 0 or more, not {self.days}")
        for name in _names(type(self)):
            column = np.asarray(getattr(self, name))
            if column.shape != np.shape(self.unit) or column.ndim != 1:
                raise BadOutcomes(f"{name} has the shape {column.shape}, unit {np.shape(self.unit)}: one row a viewer is wanted")
            if column.dtype.kind not in "iuf" or not np.isfinite(column).all() or (name != "unit" and (column < 0).any()):
                raise BadOutcomes(f"{name} must hold finite numbers from 0 on")

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[float] | NDArray[Any]], days: int) -> Self:
        """From columns by name, as a query gives them: made arrays of the right kind; no rows at all are right, too."""
        arrays: dict[str, Any] = {
            name: np.asarray(columns[name], np.int64 if name in _WHOLE else np.float64) for name in _names(cls)
        }
        return cls(**arrays | {"days": days})

    def __len__(self) -> int:
        return len(self.unit)


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcomes(_Columns):
    """One row for each viewer who was given a slate by the experiment, all columns of shape (n,), aligned, in any order.

    `unit` int64: whom the experiment assigned, so the viewer's id, or the cluster's number (then it repeats).
    `arm` int64: index into the experiment's arms, the control being 0. `slates`: given, empty ones too.
    `shown`: people shown, counting a person once a slate. `likes`: likes attributed to the arm, that is of people whom one of
    this experiment's slates showed to this viewer before. `matches`: of those likes, how many have become a match since.
    `pre_shown`, `pre_likes`, `pre_opinions` (likes and passes): the viewer's in the PRE_PERIOD_DAYS before the
    experiment's start; 0 for who was not there. `first_day`: whole days from the start to the viewer's first slate.
    Counts are float64. `days`: whole days observed, from the start to now, or to the stop.
    """

    unit: Ints
    arm: Ints
    slates: Floats
    shown: Floats
    likes: Floats
    matches: Floats
    pre_shown: Floats
    pre_likes: Floats
    pre_opinions: Floats
    first_day: Ints
    days: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Credits(_Columns):
    """Interleaving: one row for each viewer who was given a slate drafted from both arms, columns as in Outcomes.

    `first_*` are of positions that the first arm (the control) brought into the slate, `second_*` of the second arm's.
    Slates without teams (one side was degraded) are not counted.
    """

    unit: Ints
    slates: Floats
    first_shown: Floats
    second_shown: Floats
    first_likes: Floats
    second_likes: Floats
    first_matches: Floats
    second_matches: Floats
    days: int


def _names(kind: type[_Columns]) -> list[str]:
    return [name for name in kind.__annotations__ if name != "days"]
