"""What PostgreSQL cannot hold, refused before it gets there."""

from collections.abc import Iterable

import msgspec

from service.domain import Profile
from service.errors import BadInput, Problem

_TEXTS = ("name", "gender", "location", "bio")
_LISTS = ("interests", "seeks_genders")


def is_storable(text: str) -> bool:
    """Whether the text is valid Unicode without NUL: PostgreSQL has no NUL, and UTF-8 has no lone surrogates."""
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


def check_profile(profile: Profile, prefix: str = "") -> None:
    """Raise BadInput naming each text field of the profile that cannot be stored."""
    values = {name: getattr(profile, name) for name in (*_TEXTS, *_LISTS)}
    check_texts(values, prefix)


def check_texts(values: dict[str, object], prefix: str = "") -> None:
    """Raise BadInput naming each value that is, or holds, a text that cannot be stored; others are not looked at."""
    wrong = [name for name, value in values.items() if not all(is_storable(text) for text in _texts(value))]
    if wrong:
        raise BadInput(*(Problem(prefix + name, "must be Unicode text without NUL") for name in wrong))


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return (item for item in value if isinstance(item, str))
    return ()


def as_json(value: object) -> str:
    """JSON text for a json or jsonb parameter."""
    return msgspec.json.encode(value).decode()
