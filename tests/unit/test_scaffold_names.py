"""A new ranker's package: what it may be called, what is in it, and that nothing is overwritten."""

import tomllib
from pathlib import Path

import pytest

from service.errors import OperatorError
from service.scaffold.naming import LONGEST, Naming, naming_of
from service.scaffold.package import contents, write_package


@pytest.mark.parametrize(
    ("name", "distribution", "module"),
    [
        ("popular2", "popular2-ranker", "popular2_ranker"),
        ("night-owl", "night-owl-ranker", "night_owl_ranker"),
        ("v3.1", "v3-1-ranker", "v3_1_ranker"),
        ("Class_X", "class-x-ranker", "class_x_ranker"),
    ],
)
def test_a_name_becomes_that_of_a_distribution_and_of_a_module(name: str, distribution: str, module: str) -> None:
    assert naming_of(name) == Naming(name, distribution, module)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "begin with a letter"),
        ("9lives", "begin with a letter"),
        ("-x", "begin with a letter"),
        ("éclair", "begin with a letter"),
        ("a b/ü", "it holds ' ', '/', 'ü'"),
        ("v1+v2", r"it holds '\+'"),
        ("../etc", "begin with a letter"),
        ("a:b", "it holds ':'"),
        ("ends.", r"it ends in '\.'"),
        ("a" * (LONGEST + 1), f"it has {LONGEST + 1} letters"),
        ("retrieval_order", "answers that nobody could rank"),
        ("v1", r"amity-rankers \S+ has one of that name here"),
    ],
)
def test_a_bad_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(OperatorError, match=rf"a ranker cannot be called .*{reason}"):
        naming_of(name)


def test_the_entry_point_names_a_factory_that_is_there() -> None:
    files = contents(naming_of("v3.1"))
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["entry-points"]["amity.rankers"] == {"v3.1": "v3_1_ranker.ranker:RatesFactory"}
    assert "class RatesFactory:" in files["src/v3_1_ranker/ranker.py"]
    assert not [path for path, text in files.items() if "$" in path or "$name" in text or "${" in text]


def test_everything_is_written_in_one_folder_of_the_rankers_name(tmp_path: Path) -> None:
    place = write_package(naming_of("night-owl"), tmp_path / "new" / "folder")
    assert place == tmp_path / "new" / "folder" / "night-owl"
    written = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert written == set(contents(naming_of("night-owl")))
    assert [path.name for path in place.parent.iterdir()] == ["night-owl"], "nothing else is left there"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_nothing_is_overwritten(tmp_path: Path, make: object) -> None:
    make(tmp_path / "night-owl")  # type: ignore[operator]
    with pytest.raises(OperatorError, match="exists already, and nothing is overwritten"):
        write_package(naming_of("night-owl"), tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="cannot be written: "):
        write_package(naming_of("night-owl"), tmp_path / "file")
