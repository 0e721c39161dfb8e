"""How arms serve, counted by hand: degraded, empty and slow slates, their moments over viewers, and newcomers shown."""

import pytest

from service.repositories import arm_figures
from service.repositories.arm_figures import ArmFigures, ArmServed, Sums, Wanted
from service.repositories.database import Database
from tests.integration.experiment_log import Log, asked, slate


@pytest.fixture
async def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture
def figures(database: Database) -> ArmFigures:
    return ArmFigures(database.sessions)


async def test_slates_of_a_kind_are_summed_over_viewers(log: Log, figures: ArmFigures) -> None:
    await log.people(9)
    await log.gave(*(slate(1, [2], day, degraded=day < 2) for day in range(4)), slate(2, [], 1), slate(2, [1, 3], 1.1))
    served = await figures.served(asked(days=10), Wanted())
    control = served["control"]
    assert control.degraded == Sums(viewers=2, y=2, n=6, yy=4, yn=8, nn=20)
    assert control.empty == Sums(viewers=2, y=1, n=6, yy=1, yn=2, nn=20)
    assert (control.shown, control.degraded.share, control.newcomers) == (6, 2 / 6, None)


async def test_an_arm_that_served_nobody_is_all_zeros(log: Log, figures: ArmFigures) -> None:
    await log.people(3)
    await log.gave(slate(1, [2], 0))
    served = await figures.served(asked(days=1), Wanted(slow_ms=5, times=True, newcomers=True))
    assert list(served) == ["control", "treatment"]
    assert served["treatment"] == ArmServed(arm="treatment", newcomers=Sums())


async def test_only_slates_whose_time_is_known_are_slow_or_not(database: Database, log: Log, figures: ArmFigures) -> None:
    await log.people(3)
    await log.gave(*(slate(1 + i % 2, [3], i / 10, generation_ms=float(i)) for i in range(1, 11)))
    await without_a_time(database)
    control = (await figures.served(asked(days=2), Wanted(slow_ms=8.0, times=True)))["control"]
    assert control.slow == Sums(viewers=2, y=2, n=9, yy=2, yn=9, nn=41)
    assert (control.degraded.n, control.p50_ms, control.p95_ms) == (10, 6, 10)


async def without_a_time(database: Database) -> None:
    """The slate of 1 ms was written by the version before, which did not tell."""
    connection = await database.engine.connect()
    await connection.exec_driver_sql("update impressions set generation_ms = null where generation_ms = 1")
    await connection.commit()
    await connection.close()


async def test_newcomers_are_counted_for_a_week(log: Log, figures: ArmFigures) -> None:
    await log.people(9, newcomers=[5, 6], day=2)
    await log.gave(slate(1, [5, 6, 7, 8], 3), slate(1, [5, 9], 8.9), slate(2, [5, 9], 9.1), slate(2, [6], 1.9), slate(3, [], 3))
    control = (await figures.served(asked(days=20), Wanted(newcomers=True)))["control"]
    assert control.newcomers == Sums(viewers=2, y=3, n=9, yy=9, yn=18, nn=45)


async def test_of_many_positions_a_sample_is_looked_at(log: Log, figures: ArmFigures, monkeypatch: pytest.MonkeyPatch) -> None:
    await log.people(9, newcomers=[5])
    await log.gave(*(slate(1 + i % 4, [5, 6], i / 1000) for i in range(2_000)))
    monkeypatch.setattr(arm_figures, "MOST_POSITIONS", 1_000)
    newcomers = (await figures.served(asked(days=5), Wanted(newcomers=True)))["control"].newcomers
    assert newcomers is not None
    assert newcomers.share == 0.5
    assert 800 < newcomers.n < 1_200


async def test_slates_outside_of_the_window_the_arms_or_the_experiment_are_not_looked_at(log: Log, figures: ArmFigures) -> None:
    await log.people(3)
    await log.gave(slate(1, [2], -1), slate(1, [2], 3), slate(1, [2], 1, "third"), slate(1, [2], 1, None), slate(1, [2], 1))
    served = await figures.served(asked(days=3), Wanted(newcomers=True))
    assert [each.degraded.n for each in served.values()] == [1, 0]
