"""Experiments as the rooms of the house hand them to one another: frozen, without behaviour, without I/O."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
from msgspec import UnsetType
from numpy.typing import NDArray

N_BUCKETS = 10_000
"""Shares of traffic are given in ten-thousandths."""

Design = Literal["ab", "interleaving"]
Unit = Literal["viewer", "cluster"]
ClusterBy = Literal["community", "location"]
ExperimentStatus = Literal["draft", "running", "stopped"]


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One branch. `weight`: its share relative to the other arms', positive. `stopped`: a guardrail has ended it, or an operator;
    its viewers get the default and count no longer."""

    name: str
    algorithm_version: str
    weight: float = 1.0
    stopped: bool = False


class Guardrails(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that an arm must keep; None: not watched. With `stop`, an arm other than the control that surely
    breaks one is ended.

    `max_p95_ms`: of generation times. `max_degraded_share`, `max_empty_share`: of the arm's slates, 0 to 1.
    `min_newcomer_ratio`: the share of positions that go to people who joined within the last 7 days, over the control's share.
    """

    max_p95_ms: float | None = None
    max_degraded_share: float | None = None
    max_empty_share: float | None = None
    min_newcomer_ratio: float | None = None
    stop: bool = False


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """The first arm is the control. `traffic`: share of all viewers (of the layer's buckets), above 0 and up to 1. `layer`:
    experiments of one layer never share a viewer; None: a layer of its own. `cluster_by`: with the unit `cluster`, what clusters
    are made of. `buckets`: half-open ranges of the layer's N_BUCKETS that it was given, in the order in which it was given them:
    ramping up appends, and ramping down takes from the end, so that nobody moves."""

    name: str
    salt: str
    design: Design = "ab"
    unit: Unit = "viewer"
    cluster_by: ClusterBy | None = None
    traffic: float
    layer: str | None = None
    arms: tuple[Arm, ...]
    guardrails: Guardrails = Guardrails()
    status: ExperimentStatus = "draft"
    buckets: tuple[tuple[int, int], ...] = ()
    created_at: datetime
    started_at: datetime | None = None
    stopped_at: datetime | None = None


class Unread(msgspec.Struct, frozen=True):
    """A running experiment of a later version, which this one cannot read. `layer`: UNSET where even that cannot be told."""

    name: str
    layer: str | UnsetType | None


class Others(msgspec.Struct, frozen=True):
    """All that run now: those that can be read, in the order in which they started, and those that cannot."""

    running: Sequence[Experiment]
    unread: Sequence[Unread] = ()


class ClusterMap(msgspec.Struct, frozen=True, eq=False):
    """Who belongs to which cluster, frozen when an experiment started: `ids` int64 (n,), ascending; `clusters` int32 (n,)."""

    ids: NDArray[np.int64]
    clusters: NDArray[np.int32]


class LoggedDraw(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One draw of people into the exploration slots of a slate, and what came of it.

    `ids` int64 (s,): those who could be drawn and of whom all is known; `features` float32 (s, len(names)), as served; `drawn`,
    `liked`, `matched` bool (s,): who was shown, whom the viewer then liked, who liked back. Given how many were drawn, each set
    of as many was as probable.
    """

    viewer_id: int
    served_at: datetime
    ids: NDArray[np.int64]
    names: tuple[str, ...]
    features: NDArray[np.float32]
    drawn: NDArray[np.bool_]
    liked: NDArray[np.bool_]
    matched: NDArray[np.bool_]


class Window(msgspec.Struct, frozen=True):
    """From `since`, before `until`."""

    since: datetime
    until: datetime


class LoggedCounts(msgspec.Struct, frozen=True):
    """`explored`: pools out of which a slate explored; `told`: of how many of them it is known among whom."""

    explored: int
    told: int
