"""PromQL as Prometheus reads it: which series an expression asks for, by which labels, and what labels its answer has."""

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
from prometheus_client.metrics import MetricWrapperBase

from service import metrics

SCRAPED = {"namespace", "instance", "pod", "job"}
"""Labels that whoever scrapes gives to every series."""
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
_VARIABLES = (("$__rate_interval", "1m"),)
_BELOW = ("expr", "lhs", "rhs", "vector_selector", "param")


def series() -> dict[str, set[str]]:
    """The labels of each series that the code exposes, by its name."""
    found: dict[str, set[str]] = {"up": set(), "process_cpu_seconds_total": set(), "process_resident_memory_bytes": set()}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for suffix in _SUFFIXES[str(metric._type)]:
                if suffix in ("_count", "_sum") and metric._kwargs["buckets"][0] < 0:
                    continue  # where a sum may fall, only buckets are exposed
                found[metric._name + suffix] = set(metric._labelnames) | ({"le"} if suffix == "_bucket" else set())
    return found


def parsed(expression: str) -> Any:
    """The tree of an expression, Grafana's variables filled in. Raises ValueError where it is none."""
    for variable, value in _VARIABLES:
        expression = expression.replace(variable, value)
    return promql.parse(expression)


def walk(node: Any) -> Iterator[Any]:
    """A node and all below it."""
    yield node
    below = [getattr(node, name, None) for name in _BELOW] + list(getattr(node, "args", None) or ())
    for one in below:
        if isinstance(one, promql.Expr) or type(one).__name__ in dir(promql):
            yield from walk(one)


def selectors(node: Any) -> list[tuple[str, set[str]]]:
    """Name and matched labels of each selector."""
    return [
        (str(one.name), {matcher.name for matcher in one.matchers.matchers})
        for one in walk(node)
        if isinstance(one, promql.VectorSelector)
    ]


def matchers(node: Any) -> set[tuple[str, str, str]]:
    """Metric, label and value, or pattern of values, of each matcher; those that leave out none are none."""
    return {
        (str(one.name), matcher.name, re.escape(matcher.value) if matcher.op == promql.MatchOp.Equal else matcher.value)
        for one in walk(node)
        if isinstance(one, promql.VectorSelector)
        for matcher in one.matchers.matchers
    }


def labels_of(node: Any) -> set[str]:
    """The labels that the answer can have, as far as Prometheus tells them from the expression alone."""
    if isinstance(node, promql.AggregateExpr):
        return set(node.modifier.labels) if node.modifier else set()
    if isinstance(node, promql.VectorSelector):
        return series()[str(node.name)] | SCRAPED
    if isinstance(node, promql.MatrixSelector):
        return labels_of(node.vector_selector)
    if isinstance(node, promql.Call):
        within = set().union(*(labels_of(one) for one in node.args))
        return within - {"le"} if node.func.name == "histogram_quantile" else within
    if isinstance(node, promql.BinaryExpr):
        left, right = labels_of(node.lhs), labels_of(node.rhs)
        return left | right if str(node.op) == "or" else left or right
    inner = getattr(node, "expr", None)
    return set() if inner is None else labels_of(inner)


def groupings(node: Any) -> list[tuple[set[str], set[str]]]:
    """Of each `by`, `without` and `on`: the labels that it names, and those that what it is said of can have."""
    found = []
    for one in walk(node):
        if isinstance(one, promql.AggregateExpr) and one.modifier:
            found.append((set(one.modifier.labels), labels_of(one.expr)))
        if isinstance(one, promql.BinaryExpr) and one.modifier and one.modifier.matching:
            found.append((set(one.modifier.matching.labels), labels_of(one.lhs) & labels_of(one.rhs)))
    return found


def raw_counters(node: Any, inside: bool = False) -> list[str]:
    """Counters that are looked at as they stand, which tells nothing but since when a process runs."""
    if isinstance(node, promql.VectorSelector):
        name = str(node.name)
        return [name] if not inside and name.endswith(("_total", "_bucket", "_count", "_sum")) else []
    below = [getattr(node, name, None) for name in _BELOW] + list(getattr(node, "args", None) or ())
    inside = inside or isinstance(node, promql.MatrixSelector)
    return [name for one in below if type(one).__name__ in dir(promql) for name in raw_counters(one, inside)]
