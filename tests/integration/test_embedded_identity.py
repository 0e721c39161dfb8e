"""As whom the private servers run: root with and without user namespaces, and other users with and without a name."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from service.embedded import binaries, identity
from service.embedded.lease import EmbeddedServers, Options
from service.embedded.places import LONGEST_SOCKET_FOLDER, Home, socket_folder
from service.errors import EmbeddedServerError
from tests.embedded import ROOT, User, eventually, everything_stopped, postgres_pid
from tests.servers import execute, fresh_name, run_home, run_now

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
FALLBACK = Options(durable=False, namespaces=False)
NAMELESS = 54321


def namespaces_work() -> bool:
    return identity.choose(binaries.postgres_folder() / "bin" / "postgres", namespaces=True).kind == "namespace"


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def value(database_url: str) -> object:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval("SELECT value FROM kept")
    finally:
        await connection.close()


@as_root
def test_root_runs_postgres_in_a_namespace_on_files_of_its_own(home: Path) -> None:
    if not namespaces_work():
        pytest.skip("this kernel refuses user namespaces")
    with EmbeddedServers(home, Options(durable=False)):
        assert Home(home).data.stat().st_uid == 0
        assert owner_of(postgres_pid(home)) == 0


@as_root
def test_root_without_namespaces_runs_postgres_as_nobody_below_a_folder_that_nobody_cannot_enter(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700, parents=True)
    with EmbeddedServers(closed / "home", FALLBACK) as servers:
        run_now(execute(servers.database_url, ["SELECT 1"]))
        assert owner_of(postgres_pid(closed / "home")) == pwd.getpwnam("nobody").pw_uid
        assert closed.stat().st_mode & 0o777 == 0o700
    assert everything_stopped(closed / "home")


@as_root
def test_data_goes_with_root_from_one_way_to_the_other_and_back(home: Path) -> None:
    with EmbeddedServers(home, Options(durable=False)) as servers:
        run_now(execute(servers.database_url, ["CREATE TABLE kept AS SELECT 42 AS value"]))
    for options in (FALLBACK, Options(durable=False)):
        with EmbeddedServers(home, options) as servers:
            assert run_now(value(servers.database_url)) == 42


@as_root
def test_programs_that_nobody_cannot_read_are_copied_for_as_long_as_they_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    package = binaries.postgres_folder().parent
    for folder in filter(Path.exists, (package, package.with_name(f"{package.name}.libs"))):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    monkeypatch.setattr(binaries, "postgres_folder", lambda: tmp_path / package.name / "pginstall")
    with EmbeddedServers(home, FALLBACK) as servers:
        run_now(execute(servers.database_url, ["SELECT 1"]))
        program = Path(f"/proc/{postgres_pid(home)}/exe").readlink()
        assert not program.is_relative_to(tmp_path)
    assert not program.exists()


@pytest.fixture
def others_place() -> Iterator[Path]:
    """A folder where everybody may enter and write."""
    folder = run_home() / fresh_name("others")
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def as_other(servers: object, others_place: Path) -> list[str]:
    """A command prefix, to be followed by a user id and a command, that runs the command as that user.

    This interpreter, its packages and the source may lie where others cannot read; there they see them in their place.
    """
    seen = {"python": sys.base_prefix, "packages": str(Path(asyncpg.__file__).parents[1]), "source": str(ROOT)}
    mounts = []
    for name, path in seen.items():
        (others_place / name).mkdir()
        mounts.append(f"mount --bind '{path}' '{others_place / name}'")
    change = (
        f'cd "{others_place}/source" && '
        f'export PYTHONPATH="{others_place}/source:{others_place}/packages" HOME="{others_place}" && '
        'user="$0" && exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"'
    )
    prefix = ["unshare", "--mount", "sh", "-c", " && ".join([*mounts, change])]
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "1", "true"], capture_output=True).returncode != 0:
        pytest.skip("becoming another user needs setpriv and mount namespaces")
    return prefix


def python_of(others_place: Path) -> str:
    return str(others_place / "python" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


@pytest.mark.parametrize("folder", ["home", 'a "home", with 100%', "h" * LONGEST_SOCKET_FOLDER])
def test_another_user_has_servers_of_its_own_wherever_its_home_is(as_other: list[str], others_place: Path, folder: str) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    home = others_place / folder
    with User(home, prefix=[*as_other, str(nobody)], python=python_of(others_place)) as user:
        database_url, _ = user.urls()
        run_now(execute(database_url, ["SELECT 1"]))
        assert owner_of(postgres_pid(home)) == nobody
        user.leave()
    assert everything_stopped(home)


def test_a_user_without_a_name_in_passwd_has_servers_too(as_other: list[str], others_place: Path) -> None:
    if not namespaces_work():
        pytest.skip("initdb wants a name, which only a user namespace can give")
    home = others_place / "home"
    with User(home, prefix=[*as_other, str(NAMELESS)], python=python_of(others_place)) as user:
        database_url, _ = user.urls()
        run_now(execute(database_url, ["SELECT 1"]))
        assert owner_of(postgres_pid(home)) == NAMELESS
        user.kill()
        assert eventually(lambda: everything_stopped(home))


def test_a_user_without_a_name_and_without_namespaces_is_told_so(as_other: list[str], others_place: Path) -> None:
    home = others_place / "home"
    prefix = [*as_other, str(NAMELESS)]
    with User(home, prefix=prefix, python=python_of(others_place), namespaces=False) as user:
        _, errors = user.process.communicate("", timeout=60)
    assert EmbeddedServerError.__name__ in errors
    assert f"could not look up effective user ID {NAMELESS}: user does not exist" in errors


def test_sockets_are_in_a_short_folder_wherever_the_home_is() -> None:
    for home in (Path("/home/somebody/.amity"), Path("/") / ("deep/" * 60)):
        assert len(os.fsencode(socket_folder(home))) <= LONGEST_SOCKET_FOLDER
