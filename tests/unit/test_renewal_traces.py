"""What a renewal of a stale pool leaves in traces, and whose traces are kept."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from service import telemetry
from service.domain import RecommendationRequest, Relations
from service.logs import configure_logging, reset_logging
from service.telemetry import Recording, Trace
from service.tracing import spans_of
from tests.fakes import FakeRanker, World, loaded, person

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + b"0"
OF_A_POOL = {"amity.retrieval", "amity.mask", "amity.source:explore", "amity.ranking", "amity.features", "amity.store"}


@pytest.fixture
def taken() -> Iterator[list[Trace]]:
    """Traces are wanted, and come here."""
    traces: list[Trace] = []
    telemetry.send_traces(traces.append)
    yield traces
    telemetry.send_traces(None)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    yield stream
    reset_logging()
    root.handlers[:] = handlers
    root.setLevel(level)


async def asked(world: World, traceparent: bytes | None = UNSAMPLED, ratio: float = 0.0) -> Recording:
    recording = telemetry.begin_request(traceparent, ratio)
    await world.orchestrator.recommend(RecommendationRequest(viewer_id=1, limit=5))
    return recording


async def offering(traceparent: bytes | None = UNSAMPLED, ratio: float = 0.0) -> tuple[World, Recording]:
    """Where a pool waits to be renewed, and the recording of the request that was served from it."""
    world = World([person(one) for one in range(1, 41)], Relations(liked=frozenset(range(2, 14))))
    await asked(world)
    world.clock.elapsed_s = 700.0
    return world, await asked(world, traceparent, ratio)


def spans(trace: Trace) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans_of(trace, Resource({}))}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_renewal_that_a_traced_request_asked_for_is_a_trace_of_its_own_and_links_to_it(taken: list[Trace]) -> None:
    world, request = await offering(SAMPLED)
    await world.renewals.drain()
    [renewal] = taken
    root, *below = spans_of(renewal, Resource({}))
    assert (root.name, root.kind, root.parent, root.status.is_ok) == ("amity.renewal", SpanKind.INTERNAL, None, True)
    assert root.context.trace_id != request.trace_id
    assert {span.context.trace_id for span in below} == {root.context.trace_id}
    [link] = root.links
    assert (link.context.trace_id, link.context.span_id) == (request.trace_id, request.span_id)


async def test_whom_a_renewal_was_for_and_what_became_of_it_is_told(taken: list[Trace]) -> None:
    world, _ = await offering(None, ratio=1.0)
    await world.renewals.drain()
    assert attributes(spans(taken[0])["amity.renewal"]) == {
        "amity.viewer_id": 1,
        "amity.renewal.outcome": "renewed",
        "amity.traced_because": "ratio",
        "amity.algorithm_version": "v1",
        "amity.bundle_version": "b1",
    }


async def test_stages_of_a_renewal_say_what_those_of_a_request_do(taken: list[Trace]) -> None:
    world = World([person(one) for one in range(1, 41)], Relations(liked=frozenset(range(2, 14))))
    request = await asked(world, SAMPLED)
    made = {f"amity.{stage.name}": stage.attributes for stage in request.stages if f"amity.{stage.name}" in OF_A_POOL}
    world.clock.elapsed_s = 700.0
    await asked(world, SAMPLED)
    await world.renewals.drain()
    renewal = spans(taken[0])
    assert set(renewal) - {"amity.renewal"} == set(made) == OF_A_POOL
    assert all(attributes(renewal[name]) == (told or {}) for name, told in made.items())


async def test_stages_of_a_renewal_stand_below_it_and_those_around_them(taken: list[Trace]) -> None:
    world, _ = await offering(SAMPLED)
    await world.renewals.drain()
    renewal = spans(taken[0])
    names = {span.context.span_id: name for name, span in renewal.items()}
    assert {name: names[span.parent.span_id] for name, span in renewal.items() if span.parent is not None} == {
        "amity.mask": "amity.renewal",
        "amity.retrieval": "amity.renewal",
        "amity.source:explore": "amity.retrieval",
        "amity.ranking": "amity.renewal",
        "amity.features": "amity.ranking",
        "amity.store": "amity.renewal",
    }


async def test_a_renewal_that_goes_well_and_nobody_chose_leaves_no_trace(taken: list[Trace]) -> None:
    world, _ = await offering(UNSAMPLED)
    await world.renewals.drain()
    assert not taken


async def test_a_degraded_renewal_is_traced_whoever_asked_for_it(taken: list[Trace]) -> None:
    world, _ = await offering(UNSAMPLED)
    world.rankers["v1"] = loaded("v1", FakeRanker(lambda batch: np.full(len(batch.candidate_ids), np.nan)))
    await world.renewals.drain()
    root = spans(taken[0])["amity.renewal"]
    told = attributes(root)
    assert (told["amity.traced_because"], told["amity.renewal.outcome"]) == ("degraded", "degraded")
    assert told["amity.algorithm_version"] == "heuristic"
    [event] = root.events
    assert dict(event.attributes or {}) == {"amity.stage": "ranking", "amity.reason": "nan", "amity.fallback": "heuristic"}
    assert not root.links


async def test_a_renewal_that_fails_is_traced_and_says_so(taken: list[Trace]) -> None:
    world, _ = await offering(UNSAMPLED)
    world.memory.eligible = lambda asking: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        await world.renewals.drain()
    failed = spans(taken[0])
    assert (failed["amity.renewal"].status.is_ok, failed["amity.retrieval"].status.description) == (False, "ZeroDivisionError")
    assert attributes(failed["amity.renewal"])["amity.traced_because"] == "failed"


async def test_a_grave_line_of_a_renewal_bears_the_id_of_its_trace_and_makes_it_wanted(
    taken: list[Trace], lines: io.StringIO
) -> None:
    world, request = await offering(UNSAMPLED)
    world.sources["explore"]._finding = lambda people, query: 1 / 0
    await world.renewals.drain()
    [line], [renewal] = map(json.loads, lines.getvalue().splitlines()), taken
    assert (line["event"], line["trace_id"]) == ("unexpected error", f"{renewal.recording.trace_id:032x}")
    assert (renewal.recording.why, request.why, "request_id" in line) == ("logged", None, False)


async def test_a_renewal_adds_nothing_to_the_stages_and_timings_of_the_request_that_asked_for_it(taken: list[Trace]) -> None:
    world, request = await offering(SAMPLED)
    stages, timings = list(request.stages), dict(request.timings)
    await world.renewals.drain()  # in the request's own context, which a task that it started would have too
    assert (request.stages, request.timings) == (stages, timings)
    with telemetry.stage("after"):
        pass
    assert (request.stages[-1].name, [stage.name for stage in taken[0].recording.stages].count("after")) == ("after", 0)
