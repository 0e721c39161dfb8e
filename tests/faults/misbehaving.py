"""Third-party plug-ins that misbehave: the source of a distribution that tests put on a replica's PYTHONPATH."""

from collections.abc import Mapping
from pathlib import Path

MODULE = """
import sys
import threading
import time

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

EXITS_ON_IMPORT = "import sys\n\nsys.exit('no licence')\n"


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
    (folder / "misbehaving_exit.py").write_text(EXITS_ON_IMPORT)
    return {"PYTHONPATH": str(folder)}


def plugins(**named: str) -> dict[str, str]:
    """`name="Class"` as `name = misbehaving_plugins:Class`."""
    return {name: f"misbehaving_plugins:{value}" for name, value in named.items()}
