"""The rules of a record, in every format's clothes, and the rows made of the good ones."""

import csv
import io
import json
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.controllers.people_shapes import PersonBody
from service.repositories.bulk_sql import INTERACTION_COLUMNS, PERSON_COLUMNS
from service.transfer.checks import Batch, check
from service.transfer.chunks import Chunk, Position
from service.transfer.cleaning import array_literal
from service.transfer.layouts import FileKind

INTERESTS_RULE = "must be a JSON array of texts, or texts separated by ;, at most 50 of at most 100 characters"


def checked(kind: FileKind, /, **columns: list[Any]) -> Batch:
    frame = pl.DataFrame(columns, strict=False)
    chunk = Chunk(frame, range(2, 2 + frame.height), lambda i: f"record {i}", [], Position(0, 0), 0)
    return check(chunk, kind)


def person(**columns: Any) -> Batch:
    return checked("people", **{"id": ["1"], "name": ["Ann"]} | {name: [value] for name, value in columns.items()})


def acts(*rows: tuple[int, int, str, int]) -> Batch:
    actors, targets, kinds, times = zip(*rows, strict=True)
    return checked("interactions", actor_id=[*actors], target_id=[*targets], kind=[*kinds], occurred_at=[*times])


def rows(batch: Batch) -> list[dict[str, str]]:
    names = PERSON_COLUMNS if batch.kind == "people" else INTERACTION_COLUMNS
    return list(csv.DictReader(io.StringIO(batch.rows.decode(), newline=""), names))


def reasons(batch: Batch) -> list[str]:
    return [reject.reason for reject in batch.rejects]


@pytest.mark.parametrize("value", ["999", "17", "121", "-5", "28.5", "old", "1e400", "nan"])
def test_an_age_that_nobody_has_is_refused(value: str) -> None:
    assert reasons(person(age=value)) == ["age must be a whole number from 18 to 120"]


@pytest.mark.parametrize("value", ["28", " 28 ", "28.0", 28, 28.0])
def test_an_age_is_read_however_it_is_written(value: Any) -> None:
    assert rows(person(age=value))[0]["age"] == "28"


@pytest.mark.parametrize("value", ["0", "-1", "9223372036854775808", "x", "1.5"])
def test_an_id_out_of_range_is_refused(value: str) -> None:
    assert reasons(person(id=value)) == ["id must be a whole number from 1 to 9223372036854775807"]


def test_the_largest_id_is_kept_exactly() -> None:
    assert rows(person(id="9223372036854775807"))[0]["id"] == "9223372036854775807"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"id": ""}, "id is missing"),
        ({"name": ""}, "name is missing"),
        ({"name": "A\0B"}, "name holds a NUL character"),
        ({"bio": "\0"}, "bio holds a NUL character"),
        ({"interests": '["a\\u0000"]'}, f"interests {INTERESTS_RULE}"),
        ({"interests": '["a"'}, f"interests {INTERESTS_RULE}"),
        ({"interests": "[1, 2]"}, f"interests {INTERESTS_RULE}"),
        ({"latitude": "91", "longitude": "0"}, "latitude must be a number from -90 to 90"),
        ({"latitude": "0", "longitude": "inf"}, "longitude must be a number from -180 to 180"),
        ({"latitude": "1"}, "latitude and longitude belong together: one of them is missing"),
        ({"seeks_min_age": "40", "seeks_max_age": "30"}, "seeks_min_age is greater than seeks_max_age"),
        ({"seeks_max_km": "0"}, "seeks_max_km must be a number above 0"),
        ({"status": "gone"}, "status must be one of active, paused, banned"),
        ({"created_at": "yesterday"}, "created_at must be an ISO 8601 time or epoch seconds, within the years 1970 to 9999"),
        ({"created_at": "2024-02-30"}, "created_at must be an ISO 8601 time or epoch seconds, within the years 1970 to 9999"),
        (
            {"created_at": "1969-12-31T23:59:59Z"},
            "created_at must be an ISO 8601 time or epoch seconds, within the years 1970 to 9999",
        ),
        ({"created_at": "2500-01-01"}, "created_at must not lie more than 5 minutes in the future"),
        ({"last_active_at": "2500-01-01"}, "last_active_at must not lie more than 5 minutes in the future"),
        ({"name": "x" * 201}, "name is longer than 200 characters"),
        ({"interests": ";".join(map(str, range(51)))}, f"interests {INTERESTS_RULE}"),
        ({"interests": json.dumps(["x" * 101])}, f"interests {INTERESTS_RULE}"),
        ({"seeks_genders": "x" * 201}, f"seeks_genders {INTERESTS_RULE.replace('100', '200')}"),
        ({"seeks_max_km": "inf"}, "seeks_max_km must be a number above 0"),
        ({"created_at": "1700000000000"}, "created_at must be an ISO 8601 time or epoch seconds, within the years 1970 to 9999"),
    ],
)
def test_each_rule_of_a_person_names_itself(columns: dict[str, str], reason: str) -> None:
    batch = person(**columns)
    assert reasons(batch) == [reason]
    assert batch.rows == b""


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ((1, 1, "like", 5), "an interaction with oneself"),
        ((1, 2, "superlike", 5), "kind must be one of like, pass, block, message, view, unlike, unpass, unblock, unmatch"),
        ((0, 2, "like", 5), "actor_id must be a whole number from 1 to 9223372036854775807"),
    ],
)
def test_each_rule_of_an_interaction_names_itself(columns: tuple[int, int, str, int], reason: str) -> None:
    batch = acts((3, 4, "like", 5), columns)
    assert [(reject.line, reject.reason, reject.content) for reject in batch.rejects] == [(3, reason, "record 1")]
    assert len(rows(batch)) == 1


def test_a_time_still_to_come_is_refused_beyond_what_clocks_differ_by() -> None:
    now_s = int(datetime.now(UTC).timestamp())
    batch = acts((1, 2, "like", now_s + 240), (1, 3, "block", now_s + 360))
    assert [(reject.line, reject.reason) for reject in batch.rejects] == [
        (3, "occurred_at must not lie more than 5 minutes in the future")
    ]


def test_an_event_id_that_no_index_can_hold_is_refused() -> None:
    batch = checked("interactions", actor_id=[1], target_id=[2], kind=["view"], occurred_at=[5], event_id=["x" * 201])
    assert reasons(batch) == ["event_id is longer than 200 characters"]


def taken_over_http(field: str, value: Any) -> bool:
    try:
        msgspec.convert({"name": "Ann", field: value}, PersonBody, strict=False)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("field", "fits", "beyond"),
    [
        ("name", "é" * 200, "é" * 201),
        ("gender", "é" * 200, "é" * 201),
        ("location", "é" * 200, "é" * 201),
        ("bio", "é" * 5000, "é" * 5001),
        ("interests", ["é" * 100] * 50, ["é" * 101]),
        ("interests", ["a"] * 50, ["a"] * 51),
        ("seeks_genders", ["é" * 200] * 50, ["é" * 201]),
        ("seeks_genders", ["a"] * 50, ["a"] * 51),
        ("age", 120, 121),
        ("seeks_min_age", 18, 17),
        ("seeks_max_age", 120, 121),
        ("seeks_max_km", 1e300, 0.0),
    ],
)
def test_a_file_may_hold_what_the_interface_takes_and_no_more(field: str, fits: Any, beyond: Any) -> None:
    assert (reasons(person(**{field: fits})), taken_over_http(field, fits)) == ([], True)
    [reason] = reasons(person(**{field: beyond}))
    assert (reason.split()[0], taken_over_http(field, beyond)) == (field, False)


def test_of_a_record_that_breaks_two_rules_one_is_named() -> None:
    assert len(reasons(person(id="x", age="999", latitude="1"))) == 1


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-15T10:30:00Z",
        "2024-01-15T10:30:00",
        "2024-01-15 10:30:00",
        "2024-01-15T12:30:00+02:00",
        "2024-01-15 12:30:00+0200",
        "2024-01-15T10:30",
        "2024-01-15T10:30:00.000000Z",
        " 2024-01-15t10:30:00z ",
        "1705314600",
        "1705314600.0",
        1705314600,
        1705314600.0,
        datetime(2024, 1, 15, 10, 30),
        datetime(2024, 1, 15, 10, 30, tzinfo=UTC),
    ],
)
def test_a_time_is_read_however_it_is_written(value: Any) -> None:
    assert rows(person(created_at=value))[0]["created_at"] == "2024-01-15T10:30:00.000000+0000"


def test_a_day_is_its_midnight() -> None:
    assert rows(person(created_at=date(2024, 1, 15)))[0]["created_at"] == rows(person(created_at="2024-01-15"))[0]["created_at"]


def test_mixed_forms_of_time_in_one_column_are_all_read() -> None:
    batch = checked("people", id=[1, 2, 3], name=["a", "b", "c"], created_at=["1705314600", "2024-01-15", "2024-01-15T10:30:00Z"])
    assert [row["created_at"][:13] for row in rows(batch)] == ["2024-01-15T10", "2024-01-15T00", "2024-01-15T10"]


@pytest.mark.parametrize("value", ["hiking; music;", '["hiking", "music"]', ["hiking", "music"], '["", "hiking", "music"]'])
def test_a_list_is_read_however_it_is_written(value: Any) -> None:
    assert rows(person(interests=value))[0]["interests"].replace('", "', '","') == '{"hiking","music"}'


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_an_array_literal_escapes_what_postgresql_would_take_for_syntax(values: list[str]) -> None:
    literal = array_literal(json.dumps(values), 1000, 1000)
    assert literal is not None
    # Quoted elements with backslashes before quotes and backslashes: what JSON reads too, once brackets are braces.
    assert json.loads(f"[{literal[1:-1]}]", strict=False) == values


def test_an_empty_text_is_none_and_lists_and_bio_are_empty() -> None:
    row = rows(person(gender="", bio="", interests="", latitude="", longitude=""))[0]
    assert (row["gender"], row["latitude"], row["interests"], row["bio"]) == ("", "", "{}", "")
    assert b',"","{}"' in person(gender="").rows  # the bio is an empty text for COPY, not a null


def test_of_a_person_named_twice_in_a_batch_the_last_counts_and_keeps_what_it_leaves_out() -> None:
    batch = checked("people", id=["1", "2", "1"], name=["Ann", "Bob", "Anna"], status=["banned", "", ""])
    assert [(row["id"], row["name"], row["status"]) for row in rows(batch)] == [("2", "Bob", ""), ("1", "Anna", "banned")]
    assert (batch.n_read, batch.n_superseded) == (3, 1)


def test_plain_likes_and_passes_of_a_pair_go_in_one_wave() -> None:
    batch = acts((1, 2, "like", 5), (2, 1, "like", 3), (3, 4, "pass", 1))
    assert batch.n_waves == 1


def test_a_history_of_a_pair_is_spread_over_waves_in_order_of_time() -> None:
    batch = acts((1, 2, "unlike", 9), (1, 2, "like", 5), (2, 1, "like", 7), (3, 4, "like", 1))
    assert [(row["actor_id"], row["kind"], row["wave"]) for row in rows(batch)] == [
        ("3", "like", "0"),
        ("1", "like", "0"),
        ("2", "like", "1"),
        ("1", "unlike", "2"),
    ]
    assert batch.n_waves == 3


def test_an_event_named_twice_is_left_out() -> None:
    batch = acts((1, 2, "view", 5), (1, 2, "view", 5), (1, 2, "view", 6))
    assert [(row["kind"], row["event_key"]) for row in rows(batch)] == [("view", "at:5000000"), ("view", "at:6000000")]
    assert (batch.n_read, batch.n_superseded) == (3, 1)


def test_of_what_is_said_over_and_over_the_first_and_the_last_stay() -> None:
    batch = acts(*((1, 2, "like", at) for at in range(100)), (2, 1, "pass", 50))
    assert [(row["actor_id"], row["occurred_at"][17:19]) for row in rows(batch)] == [
        ("1", "00"),
        ("1", "50"),
        ("2", "50"),
        ("1", "51"),
        ("1", "39"),
    ]
    assert (batch.n_waves, batch.n_superseded) == (5, 96)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["1", "0", "x", ""]), st.sampled_from(["20", "999", ""]), st.sampled_from(["", "[", "a"])))
)
def test_nothing_is_dropped_in_silence(records: list[tuple[str, str, str]]) -> None:
    ids, ages, interests = ([*column] for column in zip(*records, strict=True)) if records else ([], [], [])
    columns = {"id": ids, "name": ["n"] * len(ids), "age": ages, "interests": interests}
    chunk_frame = {name: pl.Series(values, dtype=pl.String) for name, values in columns.items()}
    chunk = Chunk(pl.DataFrame(chunk_frame), range(len(ids)), str, [], Position(0, 0), 0)
    batch = check(chunk, "people")
    assert len(rows(batch)) + batch.n_superseded + len(batch.rejects) == len(records) == batch.n_read
