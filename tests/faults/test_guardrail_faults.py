"""An arm whose ranker fails all the time is ended by itself, in a whole replica, and its viewers get the default."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.misbehaving import install, plugins
from tests.replicas import Replica

SOON_S = 60.0
N_VIEWERS = 90


def test_an_arm_whose_ranker_always_fails_is_stopped_and_its_viewers_get_the_default(
    world: World, start: Callable[[dict[str, str]], Replica], tmp_path: Path
) -> None:
    path = install(tmp_path / "site", plugins(raises="Raises"), {})
    replica = start(world.changed(GUARDRAILS_POLL_S="0.2") | path)
    trial = {
        "name": "trial",
        "traffic": 1.0,
        "arms": [{"name": "control", "algorithm_version": "v1"}, {"name": "treatment", "algorithm_version": "raises"}],
        "guardrails": {"max_degraded_share": 0.05, "stop": True},
    }
    assert replica.client.post("/api/v1/experiments", json=trial).status_code == 201
    assert replica.client.patch("/api/v1/experiments/trial", json={"status": "running"}).status_code == 200
    first = {viewer: replica.recommend(viewer) for viewer in range(1, N_VIEWERS + 1)}
    failed = [viewer for viewer, answer in first.items() if answer["degraded"]]
    assert failed  # fewer than half: the arm may end before all have asked

    def arms() -> dict[str, bool]:
        found = replica.client.get("/api/v1/experiments/trial").json()["arms"]
        return {arm["name"]: arm["stopped"] for arm in found}

    assert eventually(lambda: arms() == {"control": False, "treatment": True}, SOON_S), replica.said
    for viewer in failed:
        answer = replica.recommend(viewer)
        assert (answer["algorithm_version"], answer["experiment"], answer["degraded"]) == ("v1", None, [])
    fine = next(viewer for viewer in first if viewer not in failed)
    assert replica.recommend(fine)["experiment"] == {"name": "trial", "arm": "control"}
    assert replica.metric('amity_guardrail_stops_total{arm="trial/treatment",guardrail="max_degraded_share"}') == 1
    [line] = [json.loads(line) for line in replica.said.splitlines() if "arm stopped by guardrail" in line]
    assert (line["experiment"], line["arm"], line["guardrail"]) == ("trial", "treatment", "max_degraded_share")
    [verdict] = replica.client.get("/api/v1/experiments/trial/report").json()["verdicts"]
    assert (verdict["kind"], "max_degraded_share" in verdict["text"]) == ("stopped", True)
