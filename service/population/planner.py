"""Which way to search, from how many pass: pure arithmetic on what was measured when the bundle was built.

`exact` scores everyone who passes. `probe` asks the index, which skips whom the mask does not pass, and scores the best it
names. `plain` asks it without a mask, which is quicker when nearly all pass, and leaves out those who do not. `none`: nobody
passes."""

from collections.abc import Mapping
from math import ceil, log, sqrt
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

Method = Literal["none", "exact", "probe", "plain"]

_UNMEASURED_NS = 150.0
"""A row's exact score where nothing was calibrated: 100 to 250 ns at 64 and 128 dimensions."""

_MOST_LISTS = 1.5
"""So many times the usual number of lists are searched at once, at most: see the index."""

_FIELDS = ("share", "miss", "depth", "masked", "recall", "low_recall", "ms", "n_lists")


class Plan(msgspec.Struct, frozen=True):
    """How one search goes. `share`: of the base's rows that pass.

    Where the index is asked: it names `depth` rows, from lists that hold all but the part `miss` of the `wanted` best of all
    rows, whether they pass or not; usually from about `n_lists`, and at once from at most `most_lists`. `expected_recall` of the
    best k and `estimated_ms`: as calibrated. `widened`: the plan before found fewer than exist, and this is what was done
    instead."""

    method: Method
    n_passing: int
    share: float
    n_lists: int = 0
    depth: int = 0
    wanted: float = 0.0
    miss: float = 0.0
    expected_recall: float = 1.0
    estimated_ms: float = 0.0
    widened: bool = False

    @property
    def most_lists(self) -> int:
        return most_lists(self.n_lists)


def most_lists(n_lists: float) -> int:
    """How many lists one query may take at once where queries take `n_lists` on the average."""
    return max(1, ceil(_MOST_LISTS * n_lists))


class Step(msgspec.Struct, frozen=True):
    """The cheapest probe that reached the target where `share` of all pass.

    `miss`: part of the expected best in lists left out; `depth`: rows named by the index who pass, 0: no probe reached the
    target. `masked`: whether the index was given the mask. `recall`: mean over the queries; `low_recall`: of the worst
    twentieth of them; `ms`: their median time; `n_lists`: mean number of lists, were nobody bounded; recalls and times are of
    searches of at most `most_lists` of that."""

    share: float
    miss: float
    depth: int
    masked: bool
    recall: float
    low_recall: float
    ms: float
    n_lists: float


class Calibration(msgspec.Struct, frozen=True):
    """What was measured on this data: `steps` by falling share, for the best `k`; exact search takes `exact_ms` + `exact_ns`
    a row."""

    k: int
    target_recall: float
    n_lists: int
    exact_ms: float
    exact_ns: float
    steps: tuple[Step, ...]

    @property
    def is_whole(self) -> bool:
        """Whether some probe reached the target at every share."""
        return all(step.depth for step in self.steps)

    def dump(self) -> dict[str, NDArray[Any]]:
        """Arrays: `figures` float64 (5,), `steps` float64 (n_steps, 8)."""
        figures = (self.k, self.target_recall, self.n_lists, self.exact_ms, self.exact_ns)
        rows = [[float(getattr(step, name)) for name in _FIELDS] for step in self.steps]
        return {"figures": np.array(figures, np.float64), "steps": np.array(rows, np.float64).reshape(-1, len(_FIELDS))}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> "Calibration":
        """From what `dump` gave. Raises ValueError for anything else."""
        figures, rows = arrays.get("figures"), arrays.get("steps")
        if figures is None or rows is None or figures.shape != (5,) or rows.ndim != 2 or rows.shape[1] != len(_FIELDS):
            raise ValueError("a calibration is five figures and a table of eight columns")
        if not (np.isfinite(figures).all() and np.isfinite(rows).all() and (rows >= 0).all() and figures[0] >= 1):
            raise ValueError("a calibration holds numbers that cannot be")
        if (np.diff(rows[:, 0]) >= 0).any() or (rows[:, 0] == 0).any():
            raise ValueError("a calibration's steps go by falling share")
        k, target, n_lists, exact_ms, exact_ns = figures.tolist()
        steps = (Step(share, miss, int(depth), bool(masked), *rest) for share, miss, depth, masked, *rest in rows.tolist())
        return cls(int(k), target, int(n_lists), exact_ms, exact_ns, tuple(steps))


class Planner:
    """Plans for one space. Without a calibration, all is exact."""

    def __init__(self, calibration: Calibration | None = None) -> None:
        self.calibration = calibration

    def plan(self, n_passing: int, n_rows: int, k: int) -> Plan:
        """How to find the best k of `n_passing` among the base's `n_rows`: the cheaper of exact and the probe for this
        share."""
        share = n_passing / n_rows if n_rows else 0.0
        if n_passing <= 0 or k <= 0:
            return Plan("none", max(0, n_passing), share)
        exact = Plan("exact", n_passing, share, estimated_ms=self._exact_ms(n_passing))
        probe = self._probe(exact, k)
        return exact if probe is None or exact.estimated_ms <= probe.estimated_ms else probe

    def enough(self, plan: Plan, k: int) -> int:
        """How many a plan must find. Without a mask, half of as many as if those named passed like everyone: else the mask leaves
        out just those whom the viewer likes best, and the best who pass may lie deeper."""
        unmasked = ceil(plan.depth * plan.share / 2) if plan.method == "plain" else 0
        return min(plan.n_passing, max(k, unmasked))

    def widen(self, plan: Plan) -> Plan:
        """What to do when a plan found too few: give the mask to the index, then search all lists, then score everyone."""
        if self.calibration is not None and plan.method == "plain":
            return replace(plan, method="probe", depth=ceil(plan.depth * plan.share), widened=True)
        if self.calibration is not None and plan.method == "probe" and plan.miss > 0:
            return replace(plan, n_lists=self.calibration.n_lists, miss=0.0, widened=True)
        return Plan("exact", plan.n_passing, plan.share, estimated_ms=self._exact_ms(plan.n_passing), widened=True)

    def _exact_ms(self, n_passing: int) -> float:
        if self.calibration is None:
            return n_passing * _UNMEASURED_NS * 1e-6
        return self.calibration.exact_ms + n_passing * self.calibration.exact_ns * 1e-6

    def _probe(self, exact: Plan, k: int) -> Plan | None:
        """What both neighbouring steps need; None where either found nothing that reaches the target, or all who pass are
        wanted."""
        around = self._around(exact.share)
        if self.calibration is None or not around or not all(step.depth for step in around) or k >= exact.n_passing:
            return None
        more = max(1.0, k / self.calibration.k)
        plain = not any(step.masked for step in around)
        # Measured at 1,000,000: by its root, recall still rises with k, .983 of 100, .986 of 200, .991 of 500.
        depth = max(step.depth for step in around) * sqrt(more) / (exact.share if plain else 1.0)
        n_lists = max(step.n_lists for step in around) * sqrt(more)  # as measured; the lists themselves follow from `wanted`
        return replace(
            exact,
            method="plain" if plain else "probe",
            n_lists=min(self.calibration.n_lists, ceil(n_lists)),
            depth=max(ceil(2 * k / (exact.share if plain else 1.0)), ceil(depth)),
            wanted=k / exact.share,
            miss=min(step.miss for step in around),
            expected_recall=min(step.recall for step in around),
            estimated_ms=_between(around, exact.share) * sqrt(more),
        )

    def _around(self, share: float) -> tuple[Step, ...]:
        """The calibrated steps next to a share; none below the smallest, where a probe has not been measured."""
        steps = () if self.calibration is None else self.calibration.steps
        above = [step for step in steps if step.share >= share]
        below = [step for step in steps if step.share <= share]
        return (above[-1], below[0]) if above and below else ()


def _between(around: tuple[Step, ...], share: float) -> float:
    """Milliseconds, by the logarithm of the share between two steps."""
    above, below = around[0], around[-1]
    if above.share <= below.share:
        return above.ms
    part = log(share / below.share) / log(above.share / below.share)
    return below.ms + part * (above.ms - below.ms)
