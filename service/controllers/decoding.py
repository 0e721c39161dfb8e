"""JSON bodies into Structs: bounded before they are decoded, and every wrong field named at once, in words for people."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import numpy as np

from service.controllers.phrases import printable, say
from service.errors import BadInput, MalformedBody, Problem

S = TypeVar("S", bound=msgspec.Struct)

MAX_DEPTH = 32
"""Nesting that a body may have. Ours need four; a decoder recurses, and 5,000 levels exhaust its stack."""
MAX_PROBLEMS = 100
"""Problems told at once; a thousand bad records need not be a megabyte of answer."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# A text, or what follows a quote that is never closed: possessive, so that hostile quotes cost linear time.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)', re.DOTALL)


def decode_body(body: bytes, into: type[S]) -> S:
    """The body as `into`; raises MalformedBody for what is not JSON and BadInput naming every field that is wrong."""
    if depth(body) > MAX_DEPTH:
        raise MalformedBody(f"The body is nested more than {MAX_DEPTH} deep")
    suspicious = b"\\u0000" in body
    try:
        if not suspicious:
            decoded: S = _decoder(into).decode(body)
            return decoded
    except msgspec.ValidationError:
        suspicious = True
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MalformedBody from exc
    return _explain(body, into)


@cache
def _decoder(into: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(into)


def depth(body: bytes) -> int:
    """How deep the brackets outside texts nest, told without decoding: 4 ms for a hostile MiB."""
    brackets = _TEXT.sub(b"", body).translate(None, _NOT_BRACKETS)
    if not brackets:
        return 0
    codes = np.frombuffer(brackets, dtype=np.uint8)
    opening = (codes == ord("[")) | (codes == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1)).max())


def _explain(body: bytes, into: type[S]) -> S:
    """The slow way, for bodies that look wrong: look at each field by itself and collect what is wrong with it."""
    try:
        raw = msgspec.json.decode(body)
    except msgspec.ValidationError as exc:
        raise BadInput.of("body", "holds a number that is out of range") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MalformedBody from exc
    problems = [Problem(where or "body", "must not contain the character NUL") for where in _nul_places(raw, "")]
    problems += [problem for problem in _struct_problems(raw, into, "") if problem.field not in {p.field for p in problems}]
    if problems:
        raise BadInput(*problems[:MAX_PROBLEMS])
    return msgspec.convert(raw, into)


def _nul_places(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, str):
        if "\0" in value:
            yield where
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _nul_places(item, f"{where}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nul_places(item, f"{where}.{printable(key)}" if where else printable(key))


def _struct_problems(raw: Any, into: type[msgspec.Struct], where: str) -> Iterator[Problem]:
    if not isinstance(raw, dict):
        yield Problem(where or "body", "must be an object")
        return
    prefix = f"{where}." if where else ""
    fields = {field.encode_name: field for field in msgspec.structs.fields(into)}
    for key in raw.keys() - fields.keys():
        yield Problem(prefix + printable(key), "is not a known field")
    for name, field in fields.items():
        if name in raw:
            yield from _field_problems(raw[name], field.type, prefix + name)
        elif field.required:
            yield Problem(prefix + name, "is required")


def _field_problems(value: Any, kind: Any, where: str) -> Iterator[Problem]:
    record = _record_type(kind)
    if record is not None and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _struct_problems(item, record, f"{where}[{i}]")
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        place, message = say(exc, kind)
        if record is None or not place:
            yield Problem(where + place, message)


@cache
def _record_type(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct that a list holds: X of `Annotated[tuple[X, ...], ...]` and of `tuple[X, ...]`; None for any other type."""
    while get_origin(kind) not in (tuple, None):
        kind = get_args(kind)[0]
    inner = get_args(kind)
    return inner[0] if inner and isinstance(inner[0], type) and issubclass(inner[0], msgspec.Struct) else None
