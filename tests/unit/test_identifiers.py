"""Identifiers are what RFC 9562 says, and what the standard library makes of their text."""

import time
from uuid import RFC_4122, UUID

from service.recommend.identifiers import uuid7, uuid7_text


def test_uuid7_is_the_uuid_of_its_text() -> None:
    made = uuid7()
    parsed = UUID(str(made))
    assert (made, hash(made), made.bytes, repr(made)) == (parsed, hash(parsed), parsed.bytes, repr(parsed))
    assert (made.version, made.variant, made.is_safe) == (7, RFC_4122, parsed.is_safe)


def test_text_is_that_of_a_uuid() -> None:
    text = uuid7_text()
    assert str(UUID(text)) == text
    assert UUID(text).version == 7


def test_time_of_making_leads() -> None:
    before_ms = time.time_ns() // 1_000_000
    numbers = [UUID(uuid7_text()).int >> 80 for _ in range(600)]
    assert before_ms <= numbers[0] <= numbers[-1] <= time.time_ns() // 1_000_000
    assert numbers == sorted(numbers)


def test_none_is_made_twice() -> None:
    assert len({*(str(uuid7()) for _ in range(2000)), *(uuid7_text() for _ in range(2000))}) == 4000
