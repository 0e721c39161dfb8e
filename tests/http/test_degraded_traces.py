"""Which degraded answers are traced though nobody has chosen them: those of every route that has something to bend."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from service import telemetry
from service.domain import Degradation
from service.repositories.migrate import upgrade
from service.settings import Settings
from tests.http.conftest import person, serving, store
from tests.servers import PrivatePostgres

USER = "/api/v1/recommendations/users/1"
ASKED: dict[str, dict[str, Any] | None] = {
    "recommendations": None,
    "similar": None,
    "why/2": None,
    "rank": {"candidate_ids": [2, 3]},
}
FROM_MEMORY = Degradation("viewer", "unavailable", "memory")


@pytest.fixture
def taken() -> Iterator[list[telemetry.Trace]]:
    """Traces are wanted, and come here."""
    traces: list[telemetry.Trace] = []
    telemetry.send_traces(traces.append)
    yield traces
    telemetry.send_traces(None)


async def test_a_degraded_answer_is_traced_and_says_in_its_log_line_what_was_bent_whatever_was_asked(
    settings: Settings, private_postgres: PrivatePostgres, taken: list[telemetry.Trace]
) -> None:
    await upgrade(private_postgres.url)
    await store(private_postgres.url, [person(i) for i in range(1, 31)])
    on_its_own = replace(settings, database_url=private_postgres.url, database_timeout_ms=300, trace_ratio=0.0)
    async with serving(on_its_own) as client:
        private_postgres.kill()
        with structlog.testing.capture_logs() as lines:
            for path, body in ASKED.items():
                asked = f"{USER}/{path}?algorithm_version=heuristic" if path != "similar" else f"{USER}/{path}"
                answer = await client.request("GET" if body is None else "POST", asked, json=body)
                assert answer.status_code == 200, answer.text
    assert [trace.recording.why for trace in taken] == ["degraded"] * len(ASKED)
    assert all(FROM_MEMORY in trace.degraded for trace in taken)
    assert ["viewer:unavailable" in line["degraded"] for line in lines if "route" in line] == [True] * len(ASKED)
