"""What a round does to an arm that surely breaks its guardrail."""

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.domain_experiments import Arm, Experiment, Guardrails
from service.errors import DatabaseUnavailable, ExperimentConflict
from service.experiments.management import Changes, Management
from service.metrics import GUARDRAIL_STOPS
from service.reporting.watching import FACT, GuardrailWatcher
from service.repositories.arm_figures import ArmFigures, Wanted
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.interactions import Interactions
from service.repositories.outcomes import Asked
from service.repositories.rounds import Rounds
from service.repositories.users import Users
from service.threads import ThreadDoor
from tests.integration.experiment_log import START, Log, at, slate

ARMS = (Arm(name="control", algorithm_version="v1"), Arm(name="treatment", algorithm_version="v2"))
RAILS = Guardrails(max_degraded_share=0.05, stop=True)
N = 40


@pytest.fixture
def rounds(database: Database) -> Rounds:
    return Rounds(database.sessions, FACT)


@pytest.fixture
async def watcher(database: Database, rounds: Rounds) -> GuardrailWatcher:
    await Log(database).people(2 * N)
    experiments, door = Experiments(database.sessions), ThreadDoor(1)
    managing = Management(
        store=experiments,
        users=Users(database.sessions),
        interactions=Interactions(database.sessions),
        door=door,
        installed=lambda: ("v1", "v2"),
    )
    return GuardrailWatcher(
        experiments=experiments,
        figures=ArmFigures(database.sessions),
        management=managing,
        rounds=rounds,
        every_s=0.01,
        now=lambda: at(2),
    )


async def running(watcher: GuardrailWatcher, **changes: Any) -> None:
    values: dict[str, Any] = {"name": "trial", "salt": "s", "traffic": 1.0, "arms": ARMS, "guardrails": RAILS}
    values |= {"status": "running", "created_at": START - timedelta(days=1), "started_at": START}
    await watcher.experiments.create(Experiment(**values | changes))


async def stopped(watcher: GuardrailWatcher) -> list[str]:
    """The arms that have ended after a round."""
    await watcher.round()
    return [arm.name for arm in (await watcher.experiments.get("trial")).arms if arm.stopped]


async def served(
    database: Database, failing: tuple[str, ...], n_viewers: int = N, arms: tuple[str, ...] = ("control", "treatment")
) -> None:
    """A slate for each viewer, half of them in each arm; all of a failing arm are degraded."""
    viewers = [(viewer, arms[viewer % len(arms)]) for viewer in range(1, 2 * n_viewers + 1)]
    await Log(database).gave(*(slate(viewer, [1 + viewer % 2], 1, arm, degraded=arm in failing) for viewer, arm in viewers))


async def test_an_arm_that_always_fails_is_ended_with_a_line_and_a_count(database: Database, watcher: GuardrailWatcher) -> None:
    await running(watcher)
    await served(database, failing=("treatment",))
    counted = GUARDRAIL_STOPS.labels("trial/treatment", "max_degraded_share")
    before = counted._value.get()
    with capture_logs() as lines:
        assert await stopped(watcher) == ["treatment"]
    [line] = [line for line in lines if line["event"] == "arm stopped by guardrail"]
    assert (line["arm"], line["guardrail"], line["seen"][:4]) == ("treatment", "max_degraded_share", "100.")
    assert counted._value.get() == before + 1
    assert (await watcher.experiments.get("trial")).status == "running"


async def test_a_few_failures_are_no_reason_to_end_an_arm(database: Database, watcher: GuardrailWatcher) -> None:
    await running(watcher)
    await served(database, failing=("treatment",), n_viewers=4)
    assert await stopped(watcher) == []


async def test_where_every_arm_fails_none_is_ended(database: Database, watcher: GuardrailWatcher) -> None:
    await running(watcher)
    await served(database, failing=("control", "treatment"))
    assert await stopped(watcher) == []


async def test_guardrails_that_do_not_say_stop_end_nothing(database: Database, watcher: GuardrailWatcher) -> None:
    await running(watcher, guardrails=Guardrails(max_degraded_share=0.05))
    await served(database, failing=("treatment",))
    assert await stopped(watcher) == []


async def test_of_two_rankers_in_one_slate_the_new_one_is_ended(database: Database, watcher: GuardrailWatcher) -> None:
    await running(watcher, design="interleaving")
    await served(database, failing=("interleaved",), arms=("interleaved",))
    assert await stopped(watcher) == ["treatment"]


async def test_experiments_are_watched_past_one_whose_figures_cannot_be_had_and_the_round_has_failed(
    database: Database, watcher: GuardrailWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(watcher, name="another", layer="another")
    await running(watcher)
    await served(database, failing=("treatment",))
    figures = ArmFigures.served

    async def of_one(self: ArmFigures, asked: Asked, wanted: Wanted) -> Any:
        if asked.experiment == "another":
            raise DatabaseUnavailable("too slow")
        return await figures(self, asked, wanted)

    monkeypatch.setattr(ArmFigures, "served", of_one)
    with capture_logs() as lines, pytest.raises(DatabaseUnavailable, match="another"):
        await watcher.round()
    assert [arm.name for arm in (await watcher.experiments.get("trial")).arms if arm.stopped] == ["treatment"]
    assert [line["reason"] for line in lines if line.get("experiment") == "another"] == ["too slow"]


async def test_an_experiment_that_ends_meanwhile_is_left_alone(
    database: Database, watcher: GuardrailWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(watcher)
    await served(database, failing=("treatment",))

    async def ended(_: object, name: str, changes: Changes) -> Experiment:
        raise ExperimentConflict(f"{name!r} does not run")

    monkeypatch.setattr(Management, "change", ended)
    assert await stopped(watcher) == []
