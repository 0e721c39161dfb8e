"""Third-party plug-ins that misbehave: the source of a distribution that tests put on a replica's PYTHONPATH."""

from collections.abc import Mapping
from pathlib import Path

MODULE = """
import sys
import threading
import time
from pathlib import Path

import numpy as np

FOREVER = threading.Event()


class Factory:
    contract_version = 1
    version = "1"
    required_features = ("age_gap_years", "distance_km")
    needs_bundle = False
    light = True

    def train(self, examples):
        return self

    def dump(self, ranker):
        return {}

    def load(self, arrays):
        return self

    def score(self, batch):
        return self.scores(batch, len(batch.candidate_ids))


def ranker(name, scores):
    globals()[name] = type(name, (Factory,), {"scores": lambda self, batch, n: scores(batch, n)})


def throw(exception):
    raise exception


ranker("Good", lambda batch, n: np.linspace(0, 1, n, dtype=np.float32))
ranker("Slow", lambda batch, n: time.sleep(0.5) or np.full(n, 0.5, np.float32))
ranker("Hangs", lambda batch, n: FOREVER.wait())
ranker("Raises", lambda batch, n: throw(ValueError("Alice is 28")))
ranker("Exits", lambda batch, n: sys.exit(3))
ranker("Interrupts", lambda batch, n: throw(KeyboardInterrupt()))
ranker("Stops", lambda batch, n: next(iter(())))
ranker("Nan", lambda batch, n: np.full(n, np.nan, np.float32))
ranker("Short", lambda batch, n: np.full(n - 1, 0.5, np.float32))
ranker("Square", lambda batch, n: np.full((n, 2), 0.5, np.float32))
ranker("Negative", lambda batch, n: np.full(n, -0.1, np.float32))
ranker("Above", lambda batch, n: np.full(n, 1.5, np.float32))
ranker("Nothing", lambda batch, n: None)
ranker("Words", lambda batch, n: ["high"] * n)
ranker("Ragged", lambda batch, n: [[1], [1, 2]])
ranker("Integers", lambda batch, n: np.arange(n) % 2)


def spoil(batch, n):
    batch.features[:] = np.nan
    batch.candidate_ids[:] = 1
    return np.full(n, 0.5, np.float32)


ranker("Spoils", spoil)


HERE = Path(__file__).parent


def by_mood(batch, n):
    # Raises while a file says so, and leaves a mark for each time that it was asked.
    with (HERE / "moody.asked").open("a") as asked:
        asked.write("x")
    return throw(ValueError("in a bad mood")) if (HERE / "moody.broken").exists() else np.full(n, 0.5, np.float32)


ranker("Moody", by_mood)


class Learns(Factory):
    needs_bundle = True

    def dump(self, ranker):
        return {"half": np.full(1, 0.5)}

    def scores(self, batch, n):
        return np.full(n, 0.5, np.float32)


def learner(name, **broken):
    globals()[name] = type(name, (Learns,), broken)


learner("TrainRaises", train=lambda self, examples: throw(MemoryError("too many pairs")))
learner("TrainExits", train=lambda self, examples: sys.exit(3))
learner("DumpsObjects", dump=lambda self, ranker: {"ranker": np.array([self])})
learner("CannotLoad", load=lambda self, arrays: throw(ValueError("three knots too few")))
learner("LearnsIntegers", scores=lambda self, batch, n: np.ones(n, np.int64))
learner("LearnsShort", scores=lambda self, batch, n: np.full(n - 1, 0.5, np.float32))
learner("LearnsNegative", scores=lambda self, batch, n: np.full(n, -0.1, np.float32))
learner("LearnsNan", scores=lambda self, batch, n: np.full(n, np.nan, np.float32))


class Forgets(Learns):
    # Loads where it was trained, and nowhere else.
    known = False

    def train(self, examples):
        type(self).known = True
        return self

    def load(self, arrays):
        return self if self.known else throw(ValueError("never trained here"))


class LongLists(Learns):
    # Scores what few there are while it is tried out, and fails at whole lists.
    def scores(self, batch, n):
        return np.full(n, 0.5, np.float32) if n <= 60 else throw(IndexError("out of room"))


class Source:
    contract_version = 1
    version = "1"


def source(name, find):
    globals()[name] = type(name, (Source,), {"find": lambda self, people, query: find(people, query)})


class Found:
    def __init__(self, ids):
        self.ids = ids
        self.scores = np.zeros(len(ids), np.float32)


source("FindHangs", lambda people, query: FOREVER.wait())
source("FindHangsToo", lambda people, query: FOREVER.wait())
source("FindRaises", lambda people, query: throw(RuntimeError("Alice is 28")))
source("FindExits", lambda people, query: sys.exit(3))
source("FindWords", lambda people, query: Found(["one", "two"]))
source("FindStrangers", lambda people, query: Found(np.array([-1, 10**15, people.viewer_id] * 3)))
"""

BROKEN_MODULES = {
    "misbehaving_exit": "import sys\n\nsys.exit('no licence')\n",
    "misbehaving_import": "import a_library_that_nobody_has_installed\n",
    "misbehaving_syntax": "class Ranker(\n",
}
"""Modules that cannot be imported."""


def install(folder: Path, rankers: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, str]:
    """Lay a distribution out in the folder, as pip would; the variable that makes a replica see it.

    Both maps are of the plug-in's name to what it names, an object of the module `misbehaving_plugins` or anything else.
    """
    about = folder / "misbehaving-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    groups = {"amity.rankers": rankers, "amity.sources": sources}
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items()) for group, named in groups.items()]
    (about / "entry_points.txt").write_text("\n".join(lines))
    (folder / "misbehaving_plugins.py").write_text(MODULE)
    for module, text in BROKEN_MODULES.items():
        (folder / f"{module}.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def plugins(**named: str) -> dict[str, str]:
    """`name="Class"` as `name = misbehaving_plugins:Class`."""
    return {name: f"misbehaving_plugins:{value}" for name, value in named.items()}
