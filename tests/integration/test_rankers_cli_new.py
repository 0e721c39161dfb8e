"""The package of a new ranker passes its own tests, the linter and the type checker as it is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.scaffold.naming import naming_of
from service.scaffold.package import write_package
from tests.replicas import amity, environment

TOOLS = {
    "tests": ("pytest", "-q", "-p", "no:cacheprovider"),
    "format": ("ruff", "format", "--check", "--no-cache", "."),
    "lint": ("ruff", "check", "--no-cache", "."),
    "types": ("mypy",),
}


@pytest.fixture(scope="module", params=["night-owl", "a_name.as-long-as-names-of-rankers-may-be0"[:40]])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(naming_of(request.param), tmp_path_factory.mktemp("new"))


@pytest.mark.parametrize("tool", TOOLS)
def test_a_new_package_passes_as_it_is(package: Path, tool: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", *TOOLS[tool]],
        cwd=package,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bad_name_is_refused_and_nothing_written(tmp_path: Path) -> None:
    done = amity({}, "rankers", "new", "../above", "--folder", str(tmp_path))
    assert (done.returncode, done.stderr.strip().splitlines()[-1][:7]) == (1, "amity: ")
    assert "has to begin with a letter" in done.stderr
    assert not list(tmp_path.iterdir())
