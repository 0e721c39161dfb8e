"""The pages of the documentation, typed as they stand, by somebody who follows them from top to bottom on one machine: everything
they say has to work, and every answer that they show has to be what comes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.embedded.lease import Lease
from service.embedded.places import socket_folder
from tests.embedded import ROOT, eventually, everything_stopped
from tests.pages import Shell, blocks
from tests.programs import program
from tests.reader import Reader, free_port, reader_settings
from tests.replicas import PATIENT
from tests.servers import fresh_name, run_home

PAGES = [
    "README.md",
    "docs/api.md",
    "docs/concepts.md",
    "docs/experiments.md",
    "docs/importing.md",
    "docs/observing.md",
    "docs/reliability.md",
    "docs/security.md",
    "docs/sizing.md",
    "docs/writing-a-ranker.md",
]
START = "1. Start everything"
INSTEAD = {
    "make run": "amity up --people 150",  # what it installs is there, and 5,000 people take 13 s of training
}
AGAIN = {"make run": "true"}
"""On other pages it runs already."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def home(servers: Lease) -> Iterator[Path]:
    """The reader's home folder. As root, private servers run as nobody, who may look into this one and not into pytest's."""
    path = run_home() / fresh_name("reader")
    path.mkdir(mode=0o755)
    yield path
    for place in (path / ".amity", path / "amity-mine"):
        assert eventually(lambda place=place: everything_stopped(place))  # type: ignore[misc]
        shutil.rmtree(socket_folder(place), ignore_errors=True)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def words() -> dict[str, str]:
    """The ports of the pages, here."""
    return {"8000": free_port(), "8001": free_port()}


@pytest.fixture(scope="module")
def running(home: Path, words: dict[str, str]) -> Iterator[Path]:
    """The home of somebody who has done the first step of the first page; what it started runs until all pages are read."""
    program("curl", brought_by="Debian's package curl")
    with terminal(home, words) as reader:
        reader.instead = dict(INSTEAD)
        reader.reads("docs/getting-started.md", START)
        yield home


@pytest.fixture
def reader(running: Path, words: dict[str, str]) -> Iterator[Reader]:
    """A second terminal."""
    with terminal(running, words) as reader:
        reader.instead = dict(AGAIN)
        yield reader


@contextmanager
def terminal(home: Path, words: dict[str, str]) -> Iterator[Reader]:
    port = words["8000"]
    with Shell(home, reader_settings(home, AMITY_PORT=port, **PATIENT), words, home) as shell:
        yield Reader(shell, port)


def headings(page: str) -> list[str]:
    return list(dict.fromkeys(block.heading for block in blocks(ROOT / page)))


def test_getting_started(reader: Reader) -> None:
    reader.reads("docs/getting-started.md", *(heading for heading in headings("docs/getting-started.md") if heading != START))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_for_who_has_it_running(reader: Reader, page: str) -> None:
    reader.reads(page)


def test_the_client_is_generated_as_make_does_and_its_program_is_typed_and_works(reader: Reader, home: Path) -> None:
    generator = Path(sys.prefix) / "client" / "bin"
    generate = program("openapi-python-client", brought_by="make client", folder=generator)
    options = re.findall(r"^CLIENT := (.*)$", (ROOT / "Makefile").read_text(), re.M)[0].replace(
        "build/amity-client", str(home / "client")
    )
    ran([generate, "generate", *options.split()], PATH=f"{generator}{os.pathsep}{os.environ['PATH']}")
    typed = home / "program.py"
    (told,) = [block.text for block in blocks(ROOT / "docs/api.md") if block.language == "python"]
    typed.write_text(reader.shell.changed(told))
    strictly = ["--strict", "--config-file=", f"--cache-dir={home / 'mypy'}", str(typed)]
    ran([sys.executable, "-m", "mypy", *strictly], MYPYPATH=str(home / "client"))
    said = ran([sys.executable, str(typed)], PYTHONPATH=str(home / "client"))
    assert "InteractionsReply(recorded=1" in said
    assert "Problem(field='limit'" in said


def ran(command: list[str], **settings: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_that_the_pages_tell_of_people_is_in_the_log(reader: Reader, home: Path) -> None:
    """Runs last."""
    logged = "".join(path.read_text() for path in home.glob("*.log"))
    assert "recommendations generated" in logged
    assert [word for word in ("Noor", "Iris", "Berlin", "hiking") if word in logged] == []
