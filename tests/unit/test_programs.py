"""A test without its program is skipped, and fails in CI."""

from pathlib import Path

import pytest

from tests.programs import all_are_demanded, program


def test_a_program_that_is_there_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    there = tmp_path / "drum-kit"
    there.touch(mode=0o755)
    assert program("drums", "drum-kit", brought_by="a shop", folder=tmp_path) == str(there)


def test_without_its_program_a_test_is_skipped_and_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="drums is missing: a shop brings it"):
        program("drums", brought_by="a shop", folder=tmp_path)


def test_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="drums is missing: a shop brings it"):
        program("drums", brought_by="a shop", folder=tmp_path)


@pytest.mark.parametrize(("value", "demanded"), [("", False), ("0", False), ("false", False), ("1", True), ("true", True)])
def test_ci_is_where_the_variable_says_so(monkeypatch: pytest.MonkeyPatch, value: str, demanded: bool) -> None:
    monkeypatch.setenv("CI", value)
    assert all_are_demanded() is demanded
