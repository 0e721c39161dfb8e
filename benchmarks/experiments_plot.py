"""Curves of simulated experiments: false findings and power by day, and the intervals of one of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from benchmarks.experiments_looks import Looks

_COLOURS = ("#c2255c", "#1c7ed6", "#74b816")
_ORDINARY = "#868e96"


def draw(same: Looks, different: Sequence[Looks], metrics: Sequence[str], path: Path) -> None:
    """Three panels into one picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(15, 6), layout="constrained")
    false, power, one = figure.subplots(1, 3)
    days = np.arange(1, same.value.shape[1] + 1)
    for i, name in enumerate(metrics):
        colour = _COLOURS[i % len(_COLOURS)]
        false.plot(days, same.found()[:, :, i].mean(axis=0), color=colour, label=name)
        false.plot(days, same.found_ordinarily()[:, :, i].mean(axis=0), "--", color=colour, label=f"{name}, t-test daily")
        for looks, line in zip(different, ("-", "--", ":"), strict=False):
            power.plot(days, looks.found()[:, :, i].mean(axis=0), line, color=colour, label=f"{name}, {looks.lift:+.0%}")
    false.axhline(0.05, color="black", linewidth=0.7, linestyle=":")
    _dress(false, f"{len(same.value):,} A/A tests: a difference found by that day")
    _dress(power, f"{len(different[-1].value):,} A/B tests each: a difference found by that day")
    _intervals(one, different[-1], len(metrics) - 1, days)
    _dress(one, f"One A/B test of a lift of {different[-1].lift:+.0%}, {metrics[-1]}")
    figure.savefig(path, dpi=110)


def _intervals(axis: Any, looks: Looks, metric: int, days: NDArray[np.int64]) -> None:
    value, low, high, ordinary = (each[0, :, metric] for each in (looks.value, looks.low, looks.high, looks.ordinary))
    axis.fill_between(days, low, high, color=_COLOURS[0], alpha=0.2, label="at all looks")
    once = np.log1p(value)
    axis.fill_between(days, np.expm1(once - ordinary), np.expm1(once + ordinary), color=_ORDINARY, alpha=0.4, label="at one look")
    axis.plot(days, value, color=_COLOURS[0], label="estimate")
    axis.axhline(looks.lift, color="black", linewidth=0.7, linestyle=":", label="truth")
    axis.set_ylim(-0.5, 1.0)


def _dress(axis: Any, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("day")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
