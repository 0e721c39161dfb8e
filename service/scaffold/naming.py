"""The names of a new ranker's package, made of the ranker's own name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from service.errors import OperatorError
from service.plugins import RANKERS, EntryPoint, EntryPoints, origin_of, registered
from service.recommend.ranking import UNRANKED

LONGEST = 40
_LETTERS = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Naming:
    """`name` is what `algorithm_version` says; `distribution` what pip installs; `module` what Python imports."""

    name: str
    distribution: str
    module: str


def naming_of(name: str, entry_points: EntryPoints = registered) -> Naming:
    """Raises OperatorError with the reason when a ranker cannot have this name."""
    if reason := _refused(name) or _taken(name, entry_points(RANKERS)):
        raise OperatorError(f"a ranker cannot be called {name!r}: {reason}")
    words = [word for word in re.split(r"[._-]+", name) if word]
    return Naming(name, f"{'-'.join(words).lower()}-ranker", f"{'_'.join(words).lower()}_ranker")


def place_of(naming: Naming, folder: Path) -> Path:
    """Where the package goes. Raises OperatorError when something is there."""
    place = folder / naming.name
    if place.exists() or place.is_symlink():
        raise OperatorError(f"{place} exists already, and nothing is overwritten; name another --folder, or another ranker")
    return place


def _refused(name: str) -> str | None:
    if not name or not (name[0].isascii() and name[0].isalpha()):
        return "it has to begin with a letter, a to z"
    if not _LETTERS.fullmatch(name):
        strange = ", ".join(sorted({repr(letter) for letter in name if not _LETTERS.fullmatch(letter)}))
        return f"it holds {strange}, and may hold letters, digits, dots, dashes and underscores: it stands in URLs and metrics"
    if not name[-1].isalnum():
        return f"it ends in {name[-1]!r}, and has to end in a letter or a digit"
    if len(name) > LONGEST:
        return f"it has {len(name)} letters, and may have {LONGEST}"
    if name == UNRANKED:
        return "answers that nobody could rank are called that"
    return None


def _taken(name: str, points: Iterable[EntryPoint]) -> str | None:
    for point in points:
        if point.name == name:
            return f"{' '.join(origin_of(point))} has one of that name here, and two of one name are refused both"
    return None
