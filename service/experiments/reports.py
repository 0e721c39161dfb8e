"""What an experiment's report says: one Struct, which is the JSON, and of which the table and the page are made."""

from datetime import datetime

import msgspec

from service.domain_experiments import ClusterBy, Design, ExperimentStatus, Unit
from service.experiments.credit import Interleaved
from service.experiments.guardrails import Kept
from service.experiments.mismatch import Mismatch
from service.experiments.ratios import Estimate, Lift
from service.experiments.verdict import Verdict


class Randomisation(msgspec.Struct, frozen=True, kw_only=True):
    """What was assigned to arms. `units`: viewers, or clusters, seen. `touched`: the share of likes that went to people who were
    given slates by another arm themselves; None without likes or with one arm. `statement`: what was done and what it assumes."""

    unit: Unit
    cluster_by: ClusterBy | None
    units: int
    touched: float | None
    statement: str


class ArmReport(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. `impressions`: people shown, a person counting once a slate. `rates` and `lifts` (against the control, which
    has none): by name of metric, with intervals that hold at every look. Times in ms, and shares of slates; None where nothing is
    known. `newcomer_share`: of positions. Of two rankers that share their slates, times and shares are those of the slates."""

    name: str
    algorithm_version: str
    weight: float
    stopped: bool
    units: int
    viewers: int
    slates: int
    impressions: int
    likes: int
    matches: int
    rates: dict[str, Estimate]
    lifts: dict[str, Lift]
    p50_ms: float | None = None
    p95_ms: float | None = None
    degraded_share: float | None = None
    empty_share: float | None = None
    newcomer_share: float | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the report would have said after so many `days`: rates by arm and metric, lifts by treatment and metric, and the
    preference for the second arm of an interleaving, by likes and by matches."""

    days: float
    rates: dict[str, dict[str, Estimate]] = {}
    lifts: dict[str, dict[str, Estimate]] = {}
    preferences: dict[str, Estimate] = {}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment from `started_at` to `until`: now, or when it stopped. `days`: between them. `primary`: the metric that
    decides. `alpha`: how often intervals may fail to hold at any look; several treatments share it. `verdicts`: one for each
    treatment. `counting`: what counts as what."""

    name: str
    design: Design
    status: ExperimentStatus
    traffic: float
    layer: str | None
    started_at: datetime
    until: datetime
    days: float
    primary: str
    alpha: float
    verdicts: tuple[Verdict, ...]
    randomisation: Randomisation
    arms: tuple[ArmReport, ...]
    mismatch: Mismatch | None
    interleaved: Interleaved | None
    guardrails: tuple[Kept, ...]
    counting: str
    notes: tuple[str, ...]
    looks: tuple[Look, ...]
