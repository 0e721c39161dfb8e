"""Tasks beside the requests."""

import asyncio

import pytest
import structlog

from service import background, metrics
from service.background import Background


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART_S", 0.0)


async def test_a_task_that_fails_is_counted_and_started_anew() -> None:
    runs: list[int] = []
    third = asyncio.Event()

    async def run() -> None:
        runs.append(1)
        if len(runs) == 3:
            third.set()
        raise KeyError("Alice")

    kept = Background()
    with structlog.testing.capture_logs() as logs:
        kept.keep("testing", run)
        await third.wait()
        await kept.stop()
    assert len(runs) == 3
    assert logs[0] == {"event": "background task failed", "task": "testing", "error_type": "KeyError", "log_level": "error"}
    assert (metrics.REGISTRY.get_sample_value("amity_unexpected_errors_total", {"door": "testing", "type": "KeyError"}) or 0) >= 2


async def test_stopping_ends_every_task_and_may_be_done_twice() -> None:
    ended: list[str] = []

    async def run(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    kept = Background()
    for name in ("one", "other"):
        kept.keep(name, lambda name=name: run(name))  # type: ignore[misc]
    await asyncio.sleep(0)
    await kept.stop()
    await kept.stop()
    assert sorted(ended) == ["one", "other"]
