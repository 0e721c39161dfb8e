"""A third party's ranker that computes for as long as a test wishes, each replica by a gate of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

MODULE = """
import os
import time
from pathlib import Path

import numpy as np


class Gated:
    contract_version = 1
    version = "1"
    required_features = ("age_gap_years",)
    needs_bundle = False
    light = True

    def train(self, examples):
        return self

    def dump(self, ranker):
        return {}

    def load(self, arrays):
        return self

    def score(self, batch):
        gate = Path(os.environ["FLEET_GATE"])
        (gate / "entered").touch()
        while (gate / "closed").exists():
            time.sleep(0.002)
        if (gate / "pause_s").exists():
            time.sleep(float((gate / "pause_s").read_text()))
        return np.linspace(1, 0, len(batch.candidate_ids), dtype=np.float32)
"""


def install(folder: Path) -> dict[str, str]:
    """Lay the ranker `gated` out in the folder, as pip would; the variable that makes a replica see it."""
    about = folder / "gated-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gated\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[amity.rankers]\ngated = fleet_gated:Gated\n")
    (folder / "fleet_gated.py").write_text(MODULE)
    return {"PYTHONPATH": str(folder)}


class Gate:
    """`settings` are a replica's whose rankings this gate can hold up."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.settings = {"FLEET_GATE": str(folder)}
        self._closed, self._entered, self._pause = (folder / name for name in ("closed", "entered", "pause_s"))

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """What is ranked meanwhile is held up until the end of it."""
        self._entered.unlink(missing_ok=True)
        self._closed.touch()
        try:
            yield
        finally:
            self._closed.unlink(missing_ok=True)

    @contextlib.contextmanager
    def slow(self, pause_s: float) -> Iterator[None]:
        """What is ranked meanwhile takes so much longer."""
        self._pause.write_text(str(pause_s))
        try:
            yield
        finally:
            self._pause.unlink()

    @property
    def entered(self) -> bool:
        """Whether somebody ranks, or has ranked since it was closed."""
        return self._entered.exists()
