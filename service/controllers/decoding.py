"""JSON bodies into Structs: bounded before they are decoded, and every wrong field named at once, in words for people."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
import numpy as np

from service.controllers.phrases import printable, say
from service.errors import AmityError, BadInput, MalformedBody, Problem

S = TypeVar("S", bound=msgspec.Struct)

MAX_DEPTH = 32
"""Nesting that a body may have. Ours need four; a decoder recurses, and 5,000 levels exhaust its stack."""
MAX_PROBLEMS = 100
"""Problems told at once; a thousand bad records need not be a megabyte of answer."""

_NUL = re.compile("\0")
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_TEXT = {_NUL: "the character NUL", _HALF: "half of a surrogate pair"}

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
        raise _undecoded(body, into) from exc
    return _explain(body, into)


def _undecoded(body: bytes, into: type[msgspec.Struct]) -> AmityError:
    """What is wrong with a body that our decoder does not take. Half a surrogate pair, `"\\ud800"`, is JSON, but it is no text
    that UTF-8 or the database could hold; msgspec calls such a body truncated."""
    if _ESCAPED_HALF.search(body):
        with suppress(ValueError):  # no JSON for other reasons
            if problems := _problems(json.loads(body.decode()), into):
                return BadInput(*problems)
    return MalformedBody()


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
        raise _undecoded(body, into) from exc
    if problems := _problems(raw, into):
        raise BadInput(*problems)
    return msgspec.convert(raw, into)


def _problems(raw: Any, into: type[msgspec.Struct]) -> list[Problem]:
    """What is wrong with a decoded body, each field once. Halves of pairs are told alone: msgspec cannot look at them."""
    found = {
        where or "body": f"must not contain {what}" for wrong, what in _NO_TEXT.items() for where in _text_places(raw, "", wrong)
    }
    problems = [Problem(where, message) for where, message in found.items()]
    if not any(message.endswith(_NO_TEXT[_HALF]) for message in found.values()):
        problems += [problem for problem in _struct_problems(raw, into, "") if problem.field not in found]
    return problems[:MAX_PROBLEMS]


def _text_places(value: Any, where: str, wrong: re.Pattern[str]) -> Iterator[str]:
    if isinstance(value, str):
        if wrong.search(value):
            yield where
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _text_places(item, f"{where}[{i}]", wrong)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _text_places(item, f"{where}.{printable(key)}" if where else printable(key), wrong)


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
    inner = _struct_type(kind)
    if inner is not None and isinstance(value, dict):
        yield from _struct_problems(value, inner, where)
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        place, message = say(exc, kind)
        if record is None or not place:
            yield Problem(where + place, message)


@cache
def _struct_type(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct that a field may hold: X of `X`, `X | None` and `X | UnsetType`; None for any other type."""
    found = [one for one in (get_args(kind) or (kind,)) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    return found[0] if found and get_origin(kind) in (None, UnionType, Union) else None


@cache
def _record_type(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct that a list holds: X of `Annotated[tuple[X, ...], ...]` and of `tuple[X, ...]`; None for any other type."""
    while get_origin(kind) not in (tuple, None):
        kind = get_args(kind)[0]
    inner = get_args(kind)
    return inner[0] if inner and isinstance(inner[0], type) and issubclass(inner[0], msgspec.Struct) else None
