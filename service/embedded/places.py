"""Where the private servers keep what: the folder of a home, and a short folder for their sockets."""

import hashlib
import json
import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, with the closing NUL; the longest name we put there has 14.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432")
POSTGRES_PORT = 5432  # only a part of the socket's name: nothing listens on TCP
ROLE = DATABASE = "amity"


class PlaceUnusable(Exception):
    """A folder that the servers need belongs to somebody else or cannot be made."""


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one pair of servers; `path` is absolute, without links."""

    path: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's data; the major version is in the name because another major cannot read it."""
        return self.path / "postgres-18"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def users_lock(self) -> Path:
        """Shared by each user for as long as it needs the servers."""
        return self.run / "users.lock"

    @property
    def start_lock(self) -> Path:
        """Exclusive for whoever looks for a keeper, and starts one where there is none."""
        return self.run / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        """Exclusive for the keeper, from before it is born until it is dead."""
        return self.run / "keeper.lock"

    @property
    def state(self) -> Path:
        """Where the servers answer; there only while they do."""
        return self.run / "servers.json"

    def log(self, server: str) -> Path:
        return self.run / f"{server}.log"

    def server_lock(self, server: str) -> Path:
        """Inherited by the server and all its children: free means that none of them lives, whatever a pid file says."""
        return self.run / f"{server}.lock"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the pair answers."""

    database_url: str
    redis_url: str

    def write(self, path: Path) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Addresses | None":
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None


def addresses(sockets: Path) -> Addresses:
    """The URLs of the pair whose sockets are in the folder, the same at each start, so that users can reconnect."""
    folder = quote(str(sockets))
    return Addresses(
        database_url=f"postgresql://{ROLE}@/{DATABASE}?host={folder}&port={POSTGRES_PORT}",
        redis_url=f"unix://{folder}/valkey.sock?db=0",
    )


def socket_folder(home: Path) -> Path:
    """A short folder for the sockets, the same for the same home; not made yet.

    Under the home where the path is short enough and plain: drivers take a comma or a colon in it for a list of hosts.
    As root always in /tmp, since PostgreSQL may run there as somebody who cannot enter root's folders.
    """
    inside = home / "run" / "sockets"
    plain = re.fullmatch(r"[A-Za-z0-9_./-]+", str(inside)) is not None
    if os.geteuid() != 0 and plain and len(os.fsencode(inside)) <= LONGEST_SOCKET_FOLDER:
        return inside
    digest = hashlib.blake2b(os.fsencode(home), digest_size=6).hexdigest()
    return Path("/tmp") / f"amity-{os.geteuid()}-{digest}"


def make_private(folder: Path, *, owners: tuple[int, ...]) -> None:
    """Make the folder, for its owner alone; raises PlaceUnusable when it is there and not one of the owners'."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise PlaceUnusable(f"{folder} cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or stat.S_IMODE(found.st_mode) & 0o077:
        raise PlaceUnusable(f"{folder} exists and is not a private folder of ours: remove it")
