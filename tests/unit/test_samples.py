"""Metrics that enter their samples late say what prometheus-client's own would."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.samples import GatheredHistogram, LoopCounter

BOUNDS = (0.001, 0.01, 0.1)


def lines(registry: CollectorRegistry) -> list[bytes]:
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


@given(st.lists(st.sampled_from([0.0, 0.0005, 0.001, 0.002, 0.01, 0.05, 0.1, 0.5, 7.0]), max_size=2500))
def test_gathered_histogram_reads_like_the_plain_one(values: list[float]) -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    for kind, registry in zip((Histogram, GatheredHistogram), registries, strict=True):
        metric = kind("amity_x_seconds", "Help", ["stage"], buckets=BOUNDS, registry=registry)
        for value in values:
            metric.labels("one").observe(round(value * 8) / 8)  # sums of eighths do not depend on their order
            metric.labels("two").observe(value, {"trace_id": "1"})
    assert lines(registries[0]) == lines(registries[1])


def test_of_values_that_may_be_negative_openmetrics_can_be_read() -> None:
    registry = CollectorRegistry()
    GatheredHistogram("amity_drift", "Help", buckets=(-1.0, 0.0, 1.0), registry=registry).observe(-0.5)
    text = openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    (family,) = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    assert [each.value for each in family.samples if each.name == "amity_drift_bucket"] == [0, 1, 1, 1]


@given(st.sampled_from([0.0, 0.0005, 0.001, 0.05, 0.1, 7.0]))
def test_an_exemplar_stands_in_the_bucket_of_its_sample(value: float) -> None:
    registries = CollectorRegistry(), CollectorRegistry()
    plain = Histogram("amity_x_seconds", "Help", buckets=BOUNDS, registry=registries[0])
    gathered = GatheredHistogram("amity_x_seconds", "Help", buckets=BOUNDS, registry=registries[1])
    plain.observe(value, {"trace_id": "ab"})
    gathered.observe(value)
    gathered.exemplify(value, "ab", 1.5)
    pointing = [[(each.name, each.labels) for each in one._child_samples() if each.exemplar] for one in (plain, gathered)]
    assert pointing[0] == pointing[1] != []


def test_gathered_histogram_loses_nothing_between_threads() -> None:
    registry = CollectorRegistry()
    metric = GatheredHistogram("amity_x_seconds", "Help", buckets=BOUNDS, registry=registry)

    def observe() -> None:
        for _ in range(20_000):
            metric.observe(0.05)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(observe)
        for _ in range(50):
            generate_latest(registry)
    assert registry.get_sample_value("amity_x_seconds_count") == 80_000
    assert registry.get_sample_value("amity_x_seconds_bucket", {"le": "0.01"}) == 0


def test_loop_counter_counts_between_two_looks_and_after() -> None:
    registry = CollectorRegistry()
    metric = LoopCounter("amity_x", "Help", ["outcome"], registry=registry)
    for expected in (3.0, 6.0):
        for _ in range(3):
            metric.labels("hit").count()
        assert registry.get_sample_value("amity_x_total", {"outcome": "hit"}) == expected
    metric.labels("hit").inc(2)
    assert registry.get_sample_value("amity_x_total", {"outcome": "hit"}) == 8.0
