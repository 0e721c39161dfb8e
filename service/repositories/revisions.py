"""The revisions of the schema that this program holds, and what each does to versions of Amity that do not know it.

A revision either expands or contracts, and says so in `phase`. One that expands takes nothing away: whatever ran before it runs
after it. One that contracts takes away what older versions use, and names in `oldest` the revision that a version has to
know at least to run from then on. The database keeps that mark beside its own revision, since a version that finds a
revision it does not know cannot look it up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from service.errors import SchemaOutdated

EXPAND, CONTRACT = "expand", "contract"
FACT = "schema"
"""The fact that holds the mark: `{"oldest": "0004"}`."""

_MARK = text(
    "insert into facts (name, value) values (:name, jsonb_build_object('oldest', cast(:oldest as text))) "
    "on conflict (name) do update set value = excluded.value"
)


@dataclass(frozen=True, slots=True)
class Revision:
    """`oldest`: the revision that a version must know to run once this one was applied; None for one that expands."""

    name: str
    oldest: str | None

    @property
    def contracts(self) -> bool:
        return self.oldest is not None


class History:
    """All revisions in their order, which has no branches."""

    def __init__(self, revisions: Sequence[Revision]) -> None:
        """Raises SchemaOutdated where there is none."""
        if not revisions:
            raise SchemaOutdated("this installation holds no migrations")
        self.revisions = tuple(revisions)
        self._places = {revision.name: place for place, revision in enumerate(revisions)}

    def __contains__(self, name: str | None) -> bool:
        return name in self._places

    @property
    def head(self) -> str:
        return self.revisions[-1].name

    @property
    def needed(self) -> str:
        """What this version cannot run without: the last that expands. Those that contract after it may wait."""
        return next(revision.name for revision in reversed(self.revisions) if not revision.contracts)

    def is_before(self, one: str, other: str) -> bool:
        """Both must be known."""
        return self._places[one] < self._places[other]

    def after(self, found: str | None) -> list[Revision]:
        """What a database at `found` has not seen; None: it has seen none."""
        return list(self.revisions[0 if found is None else self._places[found] + 1 :])

    def oldest_at(self, found: str) -> str:
        """The revision that a version has to know to run on a database at `found`."""
        applied = self.revisions[: self._places[found] + 1]
        marks = [revision.oldest for revision in applied if revision.oldest is not None]
        return max(marks, key=self._places.__getitem__, default=self.revisions[0].name)


def configuration() -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def folder() -> Path:
    """Where the migrations are: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def history() -> History:
    scripts = ScriptDirectory.from_config(configuration()).walk_revisions()
    found = [Revision(str(script.revision), _oldest(script.module)) for script in scripts]
    return History(found[::-1])


@cache
def signature() -> str:
    """What connections to the database are named, so that a migration can tell who is there: `amity 0003..0005` for a version
    that cannot run without 0003 and knows up to 0005."""
    known = history()
    return f"amity {known.needed}..{known.head}"


def mark(connection: Connection, found: str) -> None:
    """Note who may run on the database as it is now, in the transaction that has brought it to `found`."""
    connection.execute(_MARK, {"name": FACT, "oldest": history().oldest_at(found)})


def _oldest(module: object) -> str | None:
    """Raises SchemaOutdated for a revision that does not say what it does."""
    phase = getattr(module, "phase", None)
    if phase == EXPAND:
        return None
    oldest = getattr(module, "oldest", None)
    if phase != CONTRACT or not isinstance(oldest, str):
        raise SchemaOutdated(f"revision {getattr(module, 'revision', '?')} must say phase = 'expand', or 'contract' and oldest")
    return oldest
