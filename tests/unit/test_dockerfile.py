"""The image, as far as it can be told without a Docker engine: what goes in, how it is made, and how it says that it is well."""

import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.settings import Settings, load, variable
from tests.embedded import ROOT
from tests.image import instructions, settings_of_image
from tests.programs import program
from tests.replicas import environment


def copied() -> list[str]:
    """What the build takes from the checkout."""
    return [path for line in instructions("COPY") if not line.startswith("--from") for path in line.split()[:-1]]


def is_let_through(path: str) -> bool:
    """By .dockerignore: the last pattern that matches the path, or a folder that it is in, decides."""
    let_through = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        names = [path, *map(str, Path(path).parents)] + list(Path(path).parts) * line.startswith("**/")
        if line and not line.startswith("#") and any(fnmatch(name, pattern) for name in names if name != "."):
            let_through = line.startswith("!")
    return let_through


def tracked(folder: str) -> set[str]:
    """Files of a folder that are in the repository, or would be."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder]
    return set(subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines())


def test_hadolint_finds_nothing_to_complain_of() -> None:
    hadolint = program("hadolint", brought_by="make test", folder=Path(sys.executable).parent)
    checked = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_build_gets_what_it_copies_and_nothing_private() -> None:
    assert all((ROOT / path).exists() and is_let_through(path) for path in copied())
    kept_out = (
        ".env",
        ".git/config",
        ".venv/bin/python",
        "tests/conftest.py",
        "service/__pycache__/app.pyc",
        "rankers/tests/x.py",
    )
    assert not [path for path in kept_out if is_let_through(path)]


def test_wheels_made_of_what_is_copied_hold_everything_that_the_service_reads(tmp_path: Path) -> None:
    for path in copied():
        wanted = [Path(name) for name in sorted(tracked(path)) if is_let_through(name)]
        for name in wanted:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    built = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "./rankers", "."]
    ran = subprocess.run([*built, "-w", "wheels"], cwd=tmp_path, env=environment({}), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    held = {name for wheel in (tmp_path / "wheels").iterdir() for name in zipfile.ZipFile(wheel).namelist()}
    migrations = {name.replace("migrations/", "service/_migrations/", 1) for name in tracked("migrations")}
    rankers = {name.removeprefix("rankers/src/") for name in tracked("rankers/src")}
    assert (tracked("service") | migrations | rankers) - held == set()


def test_the_lock_that_is_installed_holds_all_that_others_do() -> None:
    name = re.compile(r"^([a-z0-9._-]+==\S+)", re.M)
    installed, others = ((ROOT / f"requirements{kind}.lock").read_text() for kind in ("-s3", ""))
    assert set(name.findall(others)) <= set(name.findall(installed))


def test_its_settings_are_settings_and_its_command_is_one() -> None:
    settings = settings_of_image()
    assert load(settings).host == "0.0.0.0"
    assert set(settings) <= {variable(name) for name in msgspec.structs.asdict(Settings())}
    assert instructions("EXPOSE") == [settings["AMITY_PORT"]]
    assert (instructions("ENTRYPOINT"), instructions("CMD")) == (['["amity"]'], ['["serve"]'])


def test_it_runs_as_nobody_in_particular_by_number() -> None:
    (user,) = instructions("USER")
    uid, gid = user.split(":")
    assert uid.isdigit()
    assert gid.isdigit()
    assert f"useradd --uid {uid}" in " ".join(instructions("RUN"))


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_its_health_is_what_the_service_says(status: int, code: int) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answers)
    answering = threading.Thread(target=server.handle_request)
    answering.start()
    (line,) = instructions("HEALTHCHECK")
    _, *arguments = json.loads(line[line.index("CMD") + 3 :])
    settings = environment({"AMITY_PORT": str(server.server_port)})
    asked = subprocess.run([sys.executable, *arguments], env=settings, capture_output=True, check=False)
    answering.join()
    server.server_close()
    assert asked.returncode == code, asked.stderr
