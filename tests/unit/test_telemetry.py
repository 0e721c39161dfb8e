"""Stages and their records, and whose traces are wanted."""

import time
from collections.abc import Iterator

import pytest

from service import metrics, telemetry
from service.telemetry import Recording, Trace

SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + b"0"


@pytest.fixture
def taken() -> Iterator[list[Trace]]:
    """Traces are wanted, and come here."""
    traces: list[Trace] = []
    telemetry.send_traces(traces.append)
    yield traces
    telemetry.send_traces(None)


def samples(stage: str, outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("amity_stage_seconds_count", {"stage": stage, "outcome": outcome}) or 0


def shape(recording: Recording) -> list[tuple[str, str | None]]:
    return [(each.name, None if each.outer is None else each.outer.name) for each in recording.stages]


def test_a_stage_is_timed_whether_it_succeeds_or_fails() -> None:
    ok, error = samples("brewing", "ok"), samples("brewing", "error")
    timings = telemetry.collect_timings()
    with telemetry.stage("brewing"):
        timings_inside = dict(timings)
    with pytest.raises(ValueError, match="cold"), telemetry.stage("brewing"):
        raise ValueError("cold")
    assert (samples("brewing", "ok"), samples("brewing", "error")) == (ok + 1, error + 1)
    assert (timings_inside, list(timings)) == ({}, ["brewing"])


def test_stages_are_recorded_in_the_order_and_within_those_in_which_they_began() -> None:
    recording = telemetry.begin_request(None, 0)
    with telemetry.stage("retrieval"), telemetry.stage("mask"):
        telemetry.tell({"amity.n_eligible": 3})
    with telemetry.stage("ranking", {"amity.n_candidates": 2}) as ranking:
        pass
    ranking.tell({"amity.ranker": "v1"})
    assert shape(recording) == [("retrieval", None), ("mask", "retrieval"), ("ranking", None)]
    assert [each.attributes for each in recording.stages] == [
        None,
        {"amity.n_eligible": 3},
        {"amity.n_candidates": 2, "amity.ranker": "v1"},
    ]


def test_a_stage_may_be_preceded_by_another_that_ended_within_it() -> None:
    recording = telemetry.begin_request(None, 0)
    with telemetry.stage("refreshing"), telemetry.stage("retrieval") as retrieval:
        began_s, until_s = retrieval.started_s, time.perf_counter()
        retrieval.preceded_by("mask", until_s, {"amity.n_eligible": 3})
    mask = recording.stages[1]
    assert shape(recording) == [("refreshing", None), ("mask", "refreshing"), ("retrieval", "refreshing")]
    assert (mask.started_s, mask.ended_s, retrieval.started_s) == (began_s, until_s, until_s)
    assert (mask.outcome, mask.attributes) == ("ok", {"amity.n_eligible": 3})
    assert recording.timings["mask"] == (until_s - began_s) * 1000


def test_a_record_says_what_type_of_exception_ended_its_stage_and_not_what_it_quotes() -> None:
    recording = telemetry.begin_request(None, 0)
    with pytest.raises(ValueError, match="Alice"), telemetry.stage("ranking"):
        raise ValueError("Alice")
    assert (recording.stages[0].error, recording.stages[0].outcome) == ("ValueError", "error")


def test_timings_of_their_own_leave_the_spans_where_they_were() -> None:
    recording = telemetry.begin_request(None, 0)
    with telemetry.stage("retrieval"):
        own = telemetry.collect_timings()
        with telemetry.stage("source:a"):
            assert telemetry.current_timings() is own
    assert shape(recording) == [("retrieval", None), ("source:a", "retrieval")]
    assert (list(own), list(recording.timings)) == (["source:a"], ["retrieval"])


def test_an_ended_stage_leads_back_to_no_recording() -> None:
    recording = telemetry.begin_request(None, 0)
    with telemetry.stage("ranking") as ranking:
        pass
    assert not [name for name in ranking.__slots__ if getattr(ranking, name) is recording]
    assert (ranking._recording, ranking._token) == (None, None)


@pytest.mark.parametrize(
    ("traceparent", "ratio", "why"),
    [
        (SAMPLED, 0.0, "caller"),
        (UNSAMPLED, 1.0, None),
        (None, 0.0, None),
        (None, 1.0, "ratio"),
        (b"nonsense", 0.0, None),
        (b"nonsense\xff", 1.0, "ratio"),
    ],
)
def test_who_has_no_sampled_parent_is_sampled_by_the_ratio(
    taken: list[Trace], traceparent: bytes | None, ratio: float, why: str | None
) -> None:
    assert telemetry.begin_request(traceparent, ratio).why == why


def test_a_trace_id_is_the_callers_also_where_no_trace_is_wanted() -> None:
    for traceparent in (SAMPLED, UNSAMPLED):
        assert telemetry.begin_request(traceparent, 0).trace_of_line(is_grave=False) == "0af7651916cd43dd8448eb211c80319c"


def test_a_grave_line_makes_its_trace_wanted(taken: list[Trace]) -> None:
    recording = telemetry.begin_request(None, 0)
    assert recording.trace_of_line(is_grave=False) is None
    assert (recording.trace_of_line(is_grave=True), recording.why) == (f"{recording.trace_id:032x}", "logged")


def test_the_first_reason_for_a_trace_stands(taken: list[Trace]) -> None:
    recording = telemetry.begin_request(SAMPLED, 0)
    recording.want("degraded")
    assert recording.why == "caller"


def test_no_trace_is_wanted_while_there_is_nowhere_to_send_it_to() -> None:
    recording = telemetry.begin_request(SAMPLED, 1.0)
    recording.want("failed")
    assert recording.why is None


@pytest.mark.parametrize(
    ("traceparent", "is_valid"),
    [
        (SAMPLED, True),
        (b" " + SAMPLED + b" ", True),
        (b"01" + SAMPLED[2:] + b"-more", True),
        (SAMPLED + b"-more", False),
        (b"ff" + SAMPLED[2:], False),
        (SAMPLED.upper(), False),
        (b"00-" + b"0" * 32 + SAMPLED[35:], False),
        (SAMPLED[:36] + b"0" * 16 + b"-01", False),
        (SAMPLED[:-1], False),
        (b"", False),
    ],
)
def test_a_traceparent_is_read_as_the_w3c_says(traceparent: bytes, is_valid: bool) -> None:
    assert (telemetry.caller_of(traceparent) is not None) is is_valid
