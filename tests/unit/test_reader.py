"""Whoever reads pages for the tests finds out what is wrong with one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import reader as reading
from tests.pages import Shell
from tests.reader import Reader, reader_settings, unlike


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reading, "ROOT", tmp_path)
    return tmp_path / "page.md"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Shell(tmp_path, reader_settings(tmp_path), {"8000": "8123"}, tmp_path) as shell:
        yield Reader(shell, "8123", {"make a cake": "echo cake", "make a pie": "echo pie"})


def test_a_page_is_typed_from_top_to_bottom_with_this_machine_s_words(reader: Reader, page: Path, tmp_path: Path) -> None:
    page.write_text("```sh\nWORD=8000\nmake a cake > out\n```\n\n```\nfalse\n```\n\n```sh\necho $WORD >> out\n```\n")
    reader.reads("page.md")
    assert (tmp_path / "out").read_text() == "cake\n8123\n"
    assert reader.unused == {"make a pie"}


def test_an_answer_is_held_to_what_the_page_shows_straight_after_it(reader: Reader, page: Path) -> None:
    told = '```sh\necho \'{"a": 1}\'\n```\n\n```json\n{"a": 2}\n```\n\nOf another:\n\n```json\n{"unrelated": 1}\n```\n'
    page.write_text(told)
    reader.reads("page.md")
    page.write_text(told.replace('{"a": 2}', '{"b": 2}'))
    with pytest.raises(AssertionError, match=r"\['a'\] more and lacks \['b'\]"):
        reader.reads("page.md")


def test_a_page_that_shows_json_is_not_content_with_words(reader: Reader, page: Path) -> None:
    page.write_text("```sh\necho hello\n```\n\n```json\n{}\n```\n")
    with pytest.raises(AssertionError, match="shows JSON"):
        reader.reads("page.md")


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ({"a": [1, 2]}, {"a": [5, 6, 7]}, True),
        ({"a": [1]}, {"a": []}, False),
        ({"a": []}, {"a": [1]}, False),
        ({"a": 1}, {"a": 1.5}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": "x"}, {"a": None}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ([{"a": 1}], [{"a": "x"}], False),
    ],
)
def test_answers_are_compared_by_keys_and_kinds(shown: object, real: object, same: bool) -> None:
    assert (unlike(shown, real) == "") is same
