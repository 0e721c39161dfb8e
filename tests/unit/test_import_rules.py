"""The rules of imports speak of every room: one that is in no list is held to nothing."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ALLOWED = {"sqlalchemy": {"repositories"}, "litestar": {"controllers", "console", "app"}, "redis": {"fleet"}}


def rooms() -> set[str]:
    service = ROOT / "service"
    folders = {path.parent.name for path in service.glob("*/__init__.py")}
    return folders | {path.stem for path in service.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("package", ALLOWED)
def test_all_rooms_but_those_allowed_are_forbidden_a_package(package: str) -> None:
    (contract,) = [each for each in CONTRACTS if package in each.get("forbidden_modules", ())]
    assert set(contract["source_modules"]) == {f"service.{room}" for room in rooms() - ALLOWED[package]}


def test_every_room_has_its_layer() -> None:
    (contract,) = [each for each in CONTRACTS if each["type"] == "layers"]
    found = {room for layer in contract["layers"] for room in re.findall(r"service\.(\w+)", layer)}
    assert found == rooms()
