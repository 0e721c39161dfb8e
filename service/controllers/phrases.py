"""What is wrong with a value, in words that its sender understands."""

import re
from typing import Any

import msgspec

_NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object",
    "datetime": "a time as RFC 3339 with its offset",
    "uuid": "a UUID",
    "null": "null",
}
_PLACE = re.compile(r" - at `\$(?P<place>[^`]*)`$")
_TYPE = re.compile(r"Expected `(?P<expected>[a-z |]+)`(?:, got `\w+`)?$")
_BOUND = re.compile(r"Expected `(?:int|float)` (?P<sign><=|>=|<|>) (?P<bound>\S+)$")
_LENGTH = re.compile(r"Expected `(?P<what>str|array)` of length (?P<sign><=|>=) (?P<length>\d+)$")
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_UNITS = {"str": ("character", "characters"), "array": ("entry", "entries")}
_TIME = f"must be {_NOUNS['datetime']}"


def printable(name: str) -> str:
    """A caller's own name for a field, safe to send back: bounded, and without halves of surrogate pairs."""
    return name[:100].encode("utf-8", "replace").decode()


def say(error: msgspec.ValidationError, kind: Any = None) -> tuple[str, str]:
    """Where inside the value (`[0]`, or nothing) and what is wrong; `kind` is the type that was asked for."""
    text = str(error)
    place = ""
    if found := _PLACE.search(text):
        place = found["place"].removesuffix("[...]")
        text = text[: found.start()]
    return place, _phrase(text, kind)


def _phrase(text: str, kind: Any) -> str:
    if bound := _BOUND.match(text):
        number = bound["bound"].removesuffix(".0")
        return f"must be {_SIGNS[bound['sign']]} {number}"
    if length := _LENGTH.match(text):
        one, many = _UNITS[length["what"]]
        n = int(length["length"])
        return f"must have {_SIGNS[length['sign']]} {n:,} {one if n == 1 else many}"
    if text.startswith(("Invalid RFC3339", "Expected `datetime`")):
        return _TIME
    if text.startswith("Invalid UUID"):
        return f"must be {_NOUNS['uuid']}"
    if text.startswith("Invalid enum value"):
        return f"must be one of {', '.join(_choices(kind))}"
    if expected := _TYPE.match(text):
        return "must be " + " or ".join(_NOUNS.get(part, part) for part in expected["expected"].split(" | "))
    return "is not valid"


def _choices(kind: Any) -> list[str]:
    """The values that an enumeration or a Literal allows, wherever it sits in `kind`."""
    return _choices_of(msgspec.inspect.type_info(kind))


def _choices_of(info: msgspec.inspect.Type) -> list[str]:
    match info:
        case msgspec.inspect.EnumType(cls=cls):
            return [str(member.value) for member in cls]
        case msgspec.inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case msgspec.inspect.UnionType(types=types):
            return [choice for part in types for choice in _choices_of(part)]
        case msgspec.inspect.Metadata(type=inner):
            return _choices_of(inner)
        case _:
            return []
