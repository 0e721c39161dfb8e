"""The `amity` command as a person meets it: real processes, their exit codes and what they print."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.embedded.lease import EmbeddedServers, Options

AMITY = [sys.executable, "-m", "service.cli"]
PEOPLE = 120


def amity(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AMITY, *arguments], env=environment(home, **variables), capture_output=True, text=True, timeout=120, check=False
    )


def environment(home: Path, **variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AMITY_")}
    return clean | {"AMITY_HOME": str(home), "PYTHONWARNINGS": "default"} | variables


def refused_in_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1, done.stderr
    assert lines[-1].startswith("amity: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[-1]


@pytest.fixture(scope="module")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose private database holds a small demo population and a trained bundle. Its servers run, so that no command has
    to start them and stop them again."""
    home = tmp_path_factory.mktemp("home")
    with EmbeddedServers(home, Options(durable=False), print):
        for command in (("demo", "--people", str(PEOPLE)), ("train",)):
            done = amity(home, *command)
            assert done.returncode == 0, done.stderr
        yield home


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_serve_refuses_to_fall_back_to_private_servers(tmp_path: Path) -> None:
    refused_in_one_line(amity(tmp_path, "serve"), "AMITY_DATABASE_URL", "AMITY_REDIS_URL", "--embedded")
    assert not list(tmp_path.iterdir())


def test_an_occupied_port_is_one_line(tmp_path: Path, taken_port: int) -> None:
    done = amity(tmp_path, "up", AMITY_PORT=str(taken_port))
    refused_in_one_line(done, str(taken_port), "AMITY_PORT")


def test_a_setting_out_of_range_is_named(tmp_path: Path) -> None:
    refused_in_one_line(amity(tmp_path, "doctor", AMITY_PORT="70000"), "AMITY_PORT", "65535")


def test_a_database_that_is_not_there_is_one_line(tmp_path: Path, database_url: str, redis_url: str) -> None:
    absent = re.sub(r"/[^/?]*\?", "/nowhere_to_be_found?", database_url)
    done = amity(tmp_path, "serve", AMITY_PORT="0", AMITY_DATABASE_URL=absent, AMITY_REDIS_URL=redis_url)
    refused_in_one_line(done, "nowhere_to_be_found")


def test_a_url_that_is_no_database_is_one_line(tmp_path: Path, redis_url: str) -> None:
    done = amity(tmp_path, "serve", AMITY_PORT="0", AMITY_DATABASE_URL="mysql://x", AMITY_REDIS_URL=redis_url)
    refused_in_one_line(done, "postgresql://")


def test_a_schema_that_is_not_migrated_is_one_line(tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    done = amity(tmp_path, "serve", AMITY_PORT="0", AMITY_DATABASE_URL=empty_database_url, AMITY_REDIS_URL=redis_url)
    refused_in_one_line(done, "amity migrate")


def test_serve_embedded_leaves_a_named_database_unmigrated(tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    urls = {"AMITY_DATABASE_URL": empty_database_url, "AMITY_REDIS_URL": redis_url}
    refused_in_one_line(amity(tmp_path, "serve", "--embedded", AMITY_PORT="0", **urls), "amity migrate")


def test_commands_that_need_no_redis_start_no_private_servers(tmp_path: Path, database_url: str) -> None:
    done = amity(tmp_path / "home", "migrate", "--json", AMITY_DATABASE_URL=database_url)
    assert json.loads(done.stdout) == {"applied": [], "undone": [], "waiting": []}
    assert not (tmp_path / "home").exists()


def test_import_needs_a_file(tmp_path: Path) -> None:
    refused_in_one_line(amity(tmp_path, "import"), "--people")


def test_import_with_rejects_exits_1_and_keeps_what_was_good(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("id,name,age\n1,Ada,36\n2,Methuselah,999\n3,Grace,41\n")
    done = amity(tmp_path / "home", "import", "--people", str(people), "--json")
    assert done.returncode == 1, done.stderr
    exported = tmp_path / "out.csv"
    amity(tmp_path / "home", "export", "--people", str(exported))
    assert [line.split(",")[1] for line in exported.read_text().splitlines()[1:]] == ["Ada", "Grace"]


def test_demo_refuses_a_database_that_holds_anyone(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("id,name\n1,Ada\n")
    with EmbeddedServers(tmp_path / "home", Options(durable=False), print):
        assert amity(tmp_path / "home", "import", "--people", str(people)).returncode == 0
        refused_in_one_line(amity(tmp_path / "home", "demo", "--people", "100"), "1 ")


def test_rankers_list_names_the_installed_ones(tmp_path: Path) -> None:
    done = amity(tmp_path, "rankers", "list", "--json")
    assert {row["name"] for row in json.loads(done.stdout)} >= {"heuristic", "v1"}


def test_bundles_list_shows_the_live_one(filled_home: Path) -> None:
    records = json.loads(amity(filled_home, "bundles", "list", "--json").stdout)
    assert [record["live"] for record in records] == [True]


def test_rollback_without_an_earlier_bundle_is_one_line(filled_home: Path) -> None:
    refused_in_one_line(amity(filled_home, "bundles", "rollback"), "no bundle")


def test_doctor_is_content_with_a_whole_installation(filled_home: Path) -> None:
    done = amity(filled_home, "doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert {finding["check"] for finding in json.loads(done.stdout)} >= {"redis", "schema", "people", "live bundle"}


def test_doctor_names_the_damaged_file_of_the_live_bundle(filled_home: Path, tmp_path: Path) -> None:
    victim = next((filled_home / "artifacts").rglob("vectors.mutual.high.npy"))
    whole = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        done = amity(filled_home, "doctor")
        assert done.returncode == 1
        assert "vectors.mutual.high.npy" in done.stdout
    finally:
        victim.write_bytes(whole)


class Up:
    """`amity up` in a process group of its own, as a terminal would run it."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [*AMITY, "up", "--people", str(PEOPLE)],
            env=environment(home, AMITY_PORT="0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stderr is not None
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if "curl -s" in line:
                break
        found = re.search(r"curl -s '([^']+)'", self.said)
        assert found, self.said
        self.url = found.group(1)

    def stop(self, number: signal.Signals) -> int:
        os.killpg(self.process.pid, number)
        assert self.process.stderr is not None
        with self.process.stderr as rest:
            self.said += rest.read()
        return self.process.wait(timeout=30)


def answer_in_full(url: str) -> dict[str, Any]:
    """The first answer that is not degraded: on a starved machine a read may pass its deadline, which the answer says."""
    for _ in range(5):
        with urllib.request.urlopen(url, timeout=10) as reply:
            slate: dict[str, Any] = json.load(reply)
        if not slate["degraded"]:
            break
    return slate


def left_behind(home: Path) -> list[str]:
    """What still lives of this home; the keeper, which says that the servers are down, needs a moment to go itself."""
    end_s = time.monotonic() + 5
    while (found := processes_of(home)) and time.monotonic() < end_s:
        time.sleep(0.05)
    return found


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that name this home, or that have it in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(home).encode() in text and b"pytest" not in text.split(b"\0")[0]:
                found.append(text[:200].decode(errors="replace"))
    return found


@dataclass(frozen=True, slots=True)
class Ended:
    """An `amity up` from its first line to its end: what it answered, its exit code, what it said, and what was left of it."""

    home: Path
    slate: dict[str, Any]
    code: int
    said: str
    left: list[str]


@pytest.fixture(scope="module")
def first_up(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """In a home that was not there, until Ctrl-C."""
    home = tmp_path_factory.mktemp("up") / "fresh"
    up = Up(home)
    slate = answer_in_full(up.url)
    code = up.stop(signal.SIGINT)
    return Ended(home, slate, code, up.said, left_behind(home))


@pytest.mark.slow
def test_up_serves_the_curl_it_prints_and_ctrl_c_leaves_no_process(first_up: Ended) -> None:
    assert first_up.slate["total_count"] == 20
    assert first_up.slate["degraded"] == []
    assert first_up.code == 0, first_up.said
    assert "Traceback" not in first_up.said
    assert first_up.left == []


@pytest.mark.slow
def test_a_second_up_finds_everything_there(first_up: Ended) -> None:
    up = Up(first_up.home)
    up.stop(signal.SIGTERM)
    assert "Schema: up to date" in up.said
    assert "Traceback" not in up.said
    assert left_behind(first_up.home) == []
