"""How far training is and how long each part took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.telemetry import Progress


class Steps:
    """Reports each step when it begins and when it is done; `seconds` keeps how long each took, in their order."""

    def __init__(self, report: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._report(f"Training: {name}", 0, 1)
        started_s = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started_s, 3)
        self._report(f"Training: {name}", 1, 1)
