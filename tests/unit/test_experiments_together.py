"""Three replicas on fakes while experiments come, ramp and go, through all else that can happen in random order."""

from typing import Any

import msgspec
import pytest

from service.domain import ExperimentArm, RecommendationRequest
from service.domain_experiments import Arm, Experiment
from service.experiments.routing import Router
from service.recommend.orchestrator import Orchestrator
from tests.fakes import NOW, FakeRanker, loaded
from tests.unit.test_interleave import experiment as interleaving
from tests.unit.test_interleave import lowest_first
from tests.unit.test_replicas_together import Fleet


def trial(name: str, first: str, second: str, stopped: bool = False) -> Experiment:
    """Which arm viewer 1 is in depends on the name."""
    arms = (Arm(name="a", algorithm_version=first), Arm(name="b", algorithm_version=second, stopped=stopped))
    buckets = ((0, 10_000),)
    return Experiment(name=name, salt=name, traffic=1.0, arms=arms, created_at=NOW, status="running", buckets=buckets)


RUNNING: tuple[tuple[Experiment, ...], ...] = (
    (),
    *((trial(name, *rankers),) for name in ("one", "two", "three") for rankers in (("v1", "v1"), ("v1", "v2"), ("v2", "v1"))),
    *((trial(name, "v1", "v2", stopped=True),) for name in ("one", "two", "three")),
    (interleaving(),),
    (interleaving(), trial("one", "v1", "v2")),
)


class Routed(Fleet):
    """`right`: what each answer has to say of who ranked it."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rankers["v2"] = loaded("v2", FakeRanker(lowest_first))
        for index, (orchestrator, first, renewals) in enumerate(self.replicas):
            self.replicas[index] = (Checked(orchestrator, self), first, renewals)  # type: ignore[assignment]

    async def reroute(self) -> None:
        self.router = Router("v1", self.random.choice(RUNNING))


class Checked:
    """An orchestrator each of whose answers, and what is remembered of it, is of the arm that the router says now."""

    def __init__(self, inner: Orchestrator, fleet: Routed) -> None:
        self._inner, self._fleet = inner, fleet

    async def ready(self, request: RecommendationRequest) -> Any:
        ready = await self._inner.ready(request)
        if ready is not None:
            self._check(msgspec.json.decode(ready.body))
        return ready

    async def recommend(self, request: RecommendationRequest) -> Any:
        slate = await self._inner.recommend(request)
        self._check(msgspec.to_builtins(slate))
        return slate

    def _check(self, answer: dict[str, Any]) -> None:
        routed = self._fleet.router.of_viewer(1)
        name = routed.algorithm if routed.against is None else f"{routed.algorithm}+{routed.against}"
        assert (answer["algorithm_version"], answer["ordering"] == "interleaved") == (name, routed.against is not None)
        assert (None if answer["experiment"] is None else ExperimentArm(**answer["experiment"])) == routed.arm
        seen = self._fleet.impressions.slates[-1]
        assert (str(seen.slate_id), seen.experiment, seen.algorithm_version) == (str(answer["slate_id"]), routed.arm, name)
        assert (seen.teams is None) == (routed.against is None)


@pytest.mark.parametrize("seed", range(6))
async def test_every_answer_is_of_the_arm_of_now_whatever_is_held_of_before(seed: int) -> None:
    fleet = Routed(seed)
    steps = (fleet.read, fleet.reroute, fleet.interact, fleet.edit, fleet.pass_time, fleet.renew, fleet.swap)
    for _ in range(400):
        await fleet.random.choices((*steps, fleet.disturb), (100, 12, 4, 3, 2, 4, 1, 2))[0]()
    fleet.door.close()
    assert fleet.n_ready > 5
