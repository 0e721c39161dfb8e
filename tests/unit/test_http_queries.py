"""Query strings: unknown, repeated and wrong parameters named at once."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.controllers.queries import decode_query, refuse_query
from service.controllers.shapes import RecommendationQuery
from service.errors import BadInput


def problems(query: str | bytes) -> dict[str, str]:
    raw = query if isinstance(query, bytes) else query.encode()
    with pytest.raises(BadInput) as caught:
        decode_query(raw, RecommendationQuery)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_defaults_hold_without_a_query() -> None:
    query = decode_query(b"", RecommendationQuery)
    assert (query.limit, query.exclude_seen, query.use_cache, query.exclude_ids) == (20, True, True, ())


def test_every_parameter_is_read() -> None:
    raw = (
        b"limit=5&exclude_seen=false&exclude_ids=3&exclude_ids=4&min_age=20&max_age=30&gender=Female&location=San+Francisco"
        b"&interests=tea&interests=%C3%A9t%C3%A9&max_km=2.5&active_within_days=7&algorithm_version=v1&use_cache=0"
    )
    request = decode_query(raw, RecommendationQuery).to_request(1, "r")
    assert (request.limit, request.exclude_seen, request.exclude_ids, request.use_cache) == (5, False, frozenset({3, 4}), False)
    filters = request.filters
    assert (filters.min_age, filters.max_age, filters.max_km, filters.active_within_days) == (20, 30, 2.5, 7)
    assert (filters.genders, filters.locations, filters.interests) == (("female",), ("san francisco",), ("tea", "été"))


def test_equal_filters_in_another_order_are_equal() -> None:
    one = decode_query(b"interests=a&interests=B", RecommendationQuery).to_request(1, "r")
    other = decode_query(b"interests=b&interests=A&interests=a", RecommendationQuery).to_request(1, "r")
    assert one == other


def test_all_wrong_parameters_are_named_at_once() -> None:
    assert problems("limit=101&min_age=x&offset=3&use_cache=maybe") == {
        "limit": "must be at most 100",
        "min_age": "must be a whole number",
        "offset": "is not a known parameter",
        "use_cache": "must be true or false",
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "must be at least 1"),
        ("limit=", "must be a whole number"),
        ("limit=1.5", "must be a whole number"),
        ("limit=1e1", "must be a whole number"),
        ("limit=1_0", "must be a whole number"),
        ("limit=%D9%A3", "must be a whole number"),
        ("limit=" + "9" * 40, "must be at most 100"),
        ("limit=" + "9" * 5000, "must be a whole number"),
        ("limit=5&limit=6", "may be given only once"),
        ("max_km=0", "must be more than 0"),
        ("max_km=nan", "must be a number"),
        ("max_km=inf", "must be a number"),
        ("max_km=1e999", "must be a number"),
        ("min_age=17", "must be at least 18"),
        ("max_age=121", "must be at most 120"),
        ("active_within_days=0", "must be at least 1"),
        ("exclude_ids=0", "must be at least 1"),
        ("exclude_ids=9223372036854775808", "must be at most 9223372036854775807"),
        ("exclude_ids=1,2", "must be a whole number"),
        ("gender=", "must have at least 1 character"),
        ("gender=a%00b", "must not contain the character NUL"),
        ("gender=%FF", "must be UTF-8 text"),
        ("gender=%ED%A0%80", "must be UTF-8 text"),
        ("explained=true", "is not a known parameter"),
    ],
)
def test_each_rule_is_told_in_words(query: str, message: str) -> None:
    assert problems(query) == {query.partition("=")[0]: message}


def test_five_hundred_excluded_ids_pass_and_one_more_does_not() -> None:
    assert len(decode_query(b"&".join(b"exclude_ids=%d" % i for i in range(1, 501)), RecommendationQuery).exclude_ids) == 500
    assert problems(b"&".join(b"exclude_ids=%d" % i for i in range(1, 502))) == {"exclude_ids": "must have at most 500 entries"}


def test_the_least_age_is_at_most_the_greatest() -> None:
    with pytest.raises(BadInput) as caught:
        decode_query(b"min_age=40&max_age=30", RecommendationQuery).to_request(1, "r")
    assert [problem.field for problem in caught.value.problems] == ["min_age"]


def test_a_route_without_parameters_refuses_any() -> None:
    with pytest.raises(BadInput):
        refuse_query(b"verbose=1")


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(BadInput):  # the one thing that may be raised
        decode_query(raw, RecommendationQuery)
