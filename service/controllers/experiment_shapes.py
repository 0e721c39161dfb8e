"""Experiments as they travel."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.domain_experiments import Arm, ClusterBy, Design, Experiment, Guardrails, Unit
from service.experiments.lifecycle import MOST_ARMS, MOST_WEIGHT
from service.experiments.management import Changes

Name = Annotated[str, Meta(min_length=1, max_length=100, description="1 to 100 letters, digits, dots, dashes or underscores")]
Salt = Annotated[str, Meta(min_length=1, max_length=100, description="Decides who is in which arm; the name unless given")]
Traffic = Annotated[float, Meta(gt=0, le=1, description="Share of all viewers, or of the layer; at least 0.0001")]
Share = Annotated[float, Meta(ge=0, le=1)]
Least = Annotated[float, Meta(ge=0)]


class ArmBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One branch; its weight is relative to the others'."""

    name: Name
    algorithm_version: Annotated[str, Meta(min_length=1, max_length=100, description="An installed ranker")]
    weight: Annotated[float, Meta(gt=0, le=MOST_WEIGHT)] = 1.0


class GuardrailsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds that an arm must keep; null: not watched. With `stop`, an arm other than the control that surely breaks one ends."""

    max_p95_ms: Annotated[Least, Meta(description="95th percentile of generation times")] | None = None
    max_degraded_share: Annotated[Share, Meta(description="Of the arm's slates")] | None = None
    max_empty_share: Annotated[Share, Meta(description="Of the arm's slates")] | None = None
    min_newcomer_ratio: (
        Annotated[Least, Meta(description="Share of positions that go to who joined within 7 days, over the control's")] | None
    ) = None
    stop: bool = False


Arms = Annotated[tuple[ArmBody, ...], Meta(min_length=2, max_length=MOST_ARMS, description="The first is the control")]
LayerName = Annotated[Name, Meta(description="Experiments of one layer never share a viewer; null: a layer of its own")]
Clusters = Annotated[ClusterBy, Meta(description="What clusters are made of; with the unit cluster, and only then")]


class ExperimentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft: nobody is in it until its status is `running`."""

    name: Name
    traffic: Traffic
    arms: Arms
    design: Design = "ab"
    unit: Unit = "viewer"
    cluster_by: Clusters | None = None
    layer: LayerName | None = None
    salt: Salt | None = None
    guardrails: GuardrailsBody = GuardrailsBody()

    def to_draft(self, created_at: datetime) -> Experiment:
        return Experiment(
            name=self.name,
            salt=self.name if self.salt is None else self.salt,
            design=self.design,
            unit=self.unit,
            cluster_by=self.cluster_by,
            traffic=self.traffic,
            layer=self.layer,
            arms=_arms(self.arms),
            guardrails=_guardrails(self.guardrails),
            created_at=created_at,
        )


class ExperimentChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays. `status`, `traffic` and `guardrails` may change until the experiment has stopped, and an arm other
    than the control may be stopped while it runs; all else is fixed once it runs. A ramp moves nobody between arms."""

    status: Literal["draft", "running", "stopped"] | UnsetType = UNSET
    traffic: Traffic | UnsetType = UNSET
    stop_arm: Annotated[Name, Meta(description="Gives this arm's viewers the default ranker")] | UnsetType = UNSET
    guardrails: GuardrailsBody | UnsetType = UNSET
    arms: Arms | UnsetType = UNSET
    design: Design | UnsetType = UNSET
    unit: Unit | UnsetType = UNSET
    cluster_by: Clusters | UnsetType | None = UNSET
    layer: LayerName | UnsetType | None = UNSET
    salt: Salt | UnsetType = UNSET

    def to_changes(self) -> Changes:
        plain = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("arms", "guardrails")}
        return Changes(
            **plain,
            arms=UNSET if self.arms is UNSET else _arms(self.arms),
            guardrails=UNSET if self.guardrails is UNSET else _guardrails(self.guardrails),
        )


class ExperimentsReply(msgspec.Struct, frozen=True):
    """Newest first."""

    experiments: tuple[Experiment, ...]
    request_id: str


def _arms(bodies: tuple[ArmBody, ...]) -> tuple[Arm, ...]:
    return tuple(Arm(name=body.name, algorithm_version=body.algorithm_version, weight=body.weight) for body in bodies)


def _guardrails(body: GuardrailsBody) -> Guardrails:
    return Guardrails(**{name: getattr(body, name) for name in body.__struct_fields__})
