"""The files that the steps of the benchmark of retrieval hand one another, each step being a process of its own."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.people import People
from benchmarks.scale_cases import Case
from service.artifacts.store import Store

K = 100
SPACES = ("mutual", "content")
VERSION = "20261123T000000-5ca1"


class Folder:
    """One population size: people, a bundle of them, indexes to compare with, and cases with what is true of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.people = People(root / "people")

    @property
    def store(self) -> Store:
        return Store(self.root / "store", self.root / "store")

    @cached_property
    def cases(self) -> list[Case]:
        return msgspec.json.decode((self.root / "cases.json").read_bytes(), type=list[Case])

    def save_cases(self, cases: Sequence[Case]) -> None:
        (self.root / "cases.json").write_bytes(msgspec.json.encode(cases))

    def array(self, name: str) -> NDArray[Any]:
        """Of m cases: `masks` uint8 (m, ceil(n / 8)), bits by row; `n_eligible` int64 (m,); by space `queries.` float32 (m, d)
        and `true.` int64 (m, K), rows."""
        found: NDArray[Any] = np.load(self.root / f"{name}.npy", mmap_mode="r")
        return found

    def save(self, name: str, values: NDArray[Any]) -> None:
        np.save(self.root / f"{name}.npy", values)

    def baseline(self, space: str, kind: str) -> Path:
        return self.root / f"{space}.{kind.split()[0]}.faiss"
