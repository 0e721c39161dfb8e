"""Bodies: bounded before they are decoded, and every wrong field named."""

from datetime import datetime
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from service.controllers.decoding import MAX_DEPTH, MAX_PROBLEMS, decode_body, depth
from service.controllers.experiment_shapes import ExperimentBody
from service.controllers.people_shapes import PersonBody
from service.controllers.shapes import InteractionBatch
from service.errors import BadInput, MalformedBody


def problems(body: bytes, into: type[msgspec.Struct] = PersonBody) -> dict[str, str]:
    with pytest.raises(BadInput) as caught:
        decode_body(body, into)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_whole_person_is_decoded() -> None:
    person = decode_body(b'{"name": "Al", "age": 30, "interests": ["tea"], "created_at": "2024-01-01T00:00:00Z"}', PersonBody)
    assert (person.name, person.age, person.interests) == ("Al", 30, ("tea",))


def test_all_wrong_fields_are_named_at_once() -> None:
    assert problems(b'{"age": 17, "bio": 5, "zodiac": "leo", "latitude": 91}') == {
        "name": "is required",
        "age": "must be at least 18",
        "bio": "must be text",
        "zodiac": "is not a known field",
        "latitude": "must be at most 90",
    }


def test_fields_of_an_object_in_an_object_are_named_too() -> None:
    given = b'{"name": "a", "traffic": 1, "arms": [], "guardrails": {"stop": 1, "max_p95_ms": -1, "speed": 2}}'
    assert problems(given, ExperimentBody) == {
        "arms": "must have at least 2 entries",
        "guardrails.stop": "must be true or false",
        "guardrails.max_p95_ms": "must be at least 0",
        "guardrails.speed": "is not a known field",
    }


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("age", "121", "must be at most 120"),
        ("age", "30.5", "must be a whole number or null"),
        ("age", '"30"', "must be a whole number or null"),
        ("age", "true", "must be a whole number or null"),
        ("name", '""', "must have at least 1 character"),
        ("name", "null", "must be text"),
        ("bio", '"' + "x" * 5001 + '"', "must have at most 5,000 characters"),
        ("interests", "[" + ",".join(['"a"'] * 51) + "]", "must have at most 50 entries"),
        ("interests[1]", '["a", ""]', "must have at least 1 character"),
        ("seeks_max_km", "0", "must be more than 0"),
        ("status", '"gone"', "must be one of active, paused, banned"),
        ("created_at", '"2024-01-01T00:00:00"', "must be a time as RFC 3339 with its offset"),
        ("created_at", '"yesterday"', "must be a time as RFC 3339 with its offset"),
        ("id", "0", "must be at least 1"),
        ("id", "9223372036854775808", "must be at most 9223372036854775807"),
    ],
)
def test_each_rule_is_told_in_words(field: str, value: str, message: str) -> None:
    name = field.partition("[")[0]
    given_name = "" if name == "name" else '"name": "Al", '
    assert problems(f'{{{given_name}"{name}": {value}}}'.encode()) == {field: message}


def test_a_record_of_a_batch_is_named_by_its_place() -> None:
    body = b'{"interactions": [{"actor_id": 1, "target_id": 2, "kind": "like"}, {"actor_id": 0, "kind": "poke", "x": 1}]}'
    assert problems(body, InteractionBatch) == {
        "interactions[1].actor_id": "must be at least 1",
        "interactions[1].target_id": "is required",
        "interactions[1].kind": "must be one of like, pass, block, message, view, unlike, unpass, unblock, unmatch",
        "interactions[1].x": "is not a known field",
    }


def test_more_than_a_thousand_interactions_are_refused() -> None:
    record = {"actor_id": 1, "target_id": 2, "kind": "like"}
    assert problems(msgspec.json.encode({"interactions": [record] * 1001}), InteractionBatch) == {
        "interactions": "must have at most 1,000 entries"
    }


def test_problems_are_bounded() -> None:
    with pytest.raises(BadInput) as caught:
        decode_body(msgspec.json.encode({"interactions": [{}] * 1000}), InteractionBatch)
    assert len(caught.value.problems) == MAX_PROBLEMS


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"name": "\xff"}', b'{"name": "\\ud800"', b"{} {}", b'{"age": NaN}'])
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        decode_body(body, PersonBody)


def test_a_number_beyond_floats_is_a_bad_value() -> None:
    assert problems(b'{"name": "Al", "latitude": 1e400}') == {"body": "holds a number that is out of range"}


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"a":' * 5000, b'{"name": ' + b"[" * 33 + b"]" * 33 + b"}"])
def test_deep_nesting_is_refused_before_it_is_decoded(body: bytes) -> None:
    with pytest.raises(MalformedBody, match=f"more than {MAX_DEPTH} deep"):
        decode_body(body, PersonBody)


def test_brackets_inside_texts_do_not_nest() -> None:
    assert depth(b'{"bio": "' + b"[" * 100 + b'\\"' + b"{" * 100 + b'"}') == 1


@given(st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=20))
def test_depth_is_that_of_the_value(value: object) -> None:
    def nesting(item: object) -> int:
        return 1 + max(map(nesting, item), default=0) if isinstance(item, list) else 0

    assert depth(msgspec.json.encode(value)) == nesting(value)


def test_nul_is_refused_where_it_stands() -> None:
    assert problems(b'{"name": "A\\u0000", "interests": ["tea", "a\\u0000b"]}') == {
        "name": "must not contain the character NUL",
        "interests[1]": "must not contain the character NUL",
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name": "\\ud800"}', "name"),
        (b'{"name": "Al", "bio": "a\\udc00b\\u0041"}', "bio"),
        (b'{"name": "Al", "interests": ["tea", "\\uD83D"]}', "interests[1]"),
        (b'{"name": "Al", "created_at": "\\ud800"}', "created_at"),
    ],
)
def test_half_of_a_surrogate_pair_is_json_and_refused_where_it_stands(body: bytes, field: str) -> None:
    assert problems(body) == {field: "must not contain half of a surrogate pair"}


def test_a_field_named_by_half_of_a_surrogate_pair_is_unknown() -> None:
    assert problems(b'{"name": "Al", "\\ud800": 1}') == {"?": "is not a known field"}


def test_whole_surrogate_pairs_are_text() -> None:
    assert decode_body(b'{"name": "\\ud83d\\ude00"}', PersonBody).name == "\U0001f600"


def test_an_escaped_backslash_before_u0000_is_not_a_nul() -> None:
    assert decode_body(b'{"name": "a\\\\u0000"}', PersonBody).name == "a\\u0000"


def test_a_body_that_is_no_object_says_so() -> None:
    assert problems(b"[]") == {"body": "must be an object"}


def test_odd_field_names_come_back_bounded_and_encodable() -> None:
    names = problems(msgspec.json.encode({"name": "Al", "x" * 5000: 1}))
    assert list(names) == ["x" * 100]


class _Meeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: Annotated[datetime, Meta(tz=True)]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    for into in (PersonBody, InteractionBatch, _Meeting):
        with pytest.raises((BadInput, MalformedBody)):
            decode_body(body, into)
