"""Query strings into Structs. Unknown, repeated and wrong parameters are all named at once.

A repeatable parameter is a field of a `tuple` type; every other may appear once.
"""

import re
from functools import cache
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from service.controllers.phrases import printable, say
from service.errors import BadInput, Problem

S = TypeVar("S", bound=msgspec.Struct)

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?")
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_WORDS = {int: "must be a whole number", float: "must be a number", bool: "must be true or false"}


class _Parameter(msgspec.Struct, frozen=True):
    base: type
    """int, float, bool or str: how the text is read."""
    repeatable: bool
    kind: Any
    """The whole type with its bounds."""


def decode_query(query_string: bytes, into: type[S]) -> S:
    """The query as `into`; raises BadInput naming every parameter that is wrong."""
    if not query_string:
        return into()
    known = _parameters(into)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, text in _pairs(query_string, problems):
        parameter = known.get(name)
        if parameter is None:
            problems.append(Problem(printable(name), "is not a known parameter"))
        elif parameter.repeatable:
            values.setdefault(name, []).append(text)
        elif name in values:
            problems.append(Problem(name, "may be given only once"))
        else:
            values[name] = text
    decoded: dict[str, Any] = {}
    for name, value in values.items():
        try:
            decoded[name] = _read(value, known[name])
        except ValueError as exc:
            problems.append(Problem(name, _words(exc, known[name])))
    if problems:
        raise BadInput(*dict.fromkeys(problems))
    return into(**decoded)


def refuse_query(query_string: bytes) -> None:
    """For routes without parameters."""
    decode_query(query_string, _Nothing)


class _Nothing(msgspec.Struct, frozen=True):
    """No parameters."""


def _pairs(query_string: bytes, problems: list[Problem]) -> list[tuple[str, str]]:
    pairs = []
    for part in query_string.split(b"&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition(b"=")
        name = unquote_to_bytes(raw_name.replace(b"+", b" ")).decode("utf-8", "replace")
        value = unquote_to_bytes(raw_value.replace(b"+", b" "))
        try:
            text = value.decode()
        except UnicodeDecodeError:
            problems.append(Problem(printable(name), "must be UTF-8 text"))
            continue
        if "\0" in text:
            problems.append(Problem(printable(name), "must not contain the character NUL"))
            continue
        pairs.append((name, text))
    return pairs


def _read(value: Any, parameter: _Parameter) -> Any:
    if parameter.repeatable:
        return msgspec.convert([_read_one(text, parameter.base) for text in value], parameter.kind)
    return msgspec.convert(_read_one(value, parameter.base), parameter.kind)


def _read_one(text: str, base: type) -> Any:
    """One text as its base type. Stricter than int() and float(): no `1_000`, `nan`, `inf` or blanks. Raises ValueError."""
    if base is int:
        if not _WHOLE.fullmatch(text):
            raise ValueError(_WORDS[int])
        return int(text)
    if base is float:
        if not _NUMBER.fullmatch(text):
            raise ValueError(_WORDS[float])
        return float(text)
    if base is bool:
        if text.lower() not in _BOOLS:
            raise ValueError(_WORDS[bool])
        return _BOOLS[text.lower()]
    return text


def _words(error: ValueError, parameter: _Parameter) -> str:
    return say(error, parameter.kind)[1] if isinstance(error, msgspec.ValidationError) else str(error)


@cache
def _parameters(into: type[msgspec.Struct]) -> dict[str, _Parameter]:
    return {field.encode_name: _parameter(field.type) for field in msgspec.structs.fields(into)}


def _parameter(kind: Any) -> _Parameter:
    """Looks through `Annotated`, `X | UnsetType` and `tuple[X, ...]` for the base type."""
    base, repeatable = kind, False
    while (origin := get_origin(base)) is not None:
        repeatable = repeatable or origin is tuple
        base = get_args(base)[0]
    return _Parameter(base, repeatable, kind)
