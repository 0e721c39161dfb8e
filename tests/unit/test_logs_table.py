"""The log fields of docs/observing.md are those that the code writes."""

import ast
from functools import cache

from tests.embedded import ROOT
from tests.observing import quoted, table

LOGGERS = {"_log", "_answers"}
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
OF_THE_MECHANISM = {"event", "level", "timestamp", "request_id", "trace_id", "error_type", "cause_type", "frames"}
"""What service/logs.py adds to lines."""


@cache
def trees() -> tuple[ast.AST, ...]:
    return tuple(ast.parse(path.read_text()) for path in sorted((ROOT / "service").rglob("*.py")))


def of_calls() -> set[str]:
    """Keywords of all calls of a logger."""
    calls = (node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {keyword.arg for call in calls if _is_log(call.func) for keyword in call.keywords if keyword.arg is not None}


def _is_log(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in LEVELS:
        return False
    return isinstance(function.value, ast.Name) and function.value.id.lower() in LOGGERS


def of_answers() -> set[str]:
    """Keys that are put into the fields of an answered request's line: `fields[...] =`, `fields |= {...}`, `fields = {...}`."""
    found: set[str] = set()
    for tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign | ast.AugAssign):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Subscript) and _is_fields(target.value) and isinstance(target.slice, ast.Constant):
                    found.add(str(target.slice.value))
                elif _is_fields(target) and isinstance(node.value, ast.Dict):
                    found |= {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    return found


def _is_fields(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "fields") or (isinstance(node, ast.Name) and node.id == "fields")


def test_the_table_names_every_field_and_no_other() -> None:
    listed = [name for cell, *_ in table("Logs", "field") for name in quoted(cell)]
    assert len(listed) == len(set(listed))
    assert set(listed) == of_calls() | of_answers() | OF_THE_MECHANISM


def test_fields_of_answers_are_found() -> None:
    assert {"viewer_id", "count", "method", "recorded", "left_at"} <= of_answers()
