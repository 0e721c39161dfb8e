"""An installed plug-in held to its contract, law by law, in a process of its own."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import util

import msgspec

from service.errors import OperatorError
from service.plugins import RANKERS, SOURCES, registered

KINDS = {RANKERS: "ranker", SOURCES: "source"}
NEEDED = ("pytest", "hypothesis")
LOADS = "it is found, loads and declares what the service needs"
"""The first law, which is the service's own."""
MOST_ENDS = 3
"""A plug-in that hung, or took its process with it, so often is not tried on the other laws."""


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """One law, with all its cases: `reason` is why it does not hold, or does not apply; None where it simply holds."""

    kind: str
    law: str
    ok: bool
    reason: str | None = None
    applies: bool = True
    """False for a law about what this plug-in does not do; `reason` then says what that is."""


@dataclass(slots=True)
class Found:
    """What was said of a plug-in's laws: why each case failed, or None, in their order; which do not apply; which is at work."""

    ended: dict[str, str | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    at_work: str | None = None

    def take(self, line: str) -> None:
        """One line of the process."""
        said = json.loads(line)
        if "begins" in said:
            self.at_work = said["begins"]
        elif "skipped" in said:
            self.skipped[said["ends"]] = said["skipped"]
        else:
            self.ended[said["ends"]] = self.ended.get(said["ends"]) or said["reason"]
        if said.get("ends") == self.at_work:
            self.at_work = None

    def give_up(self, how: str) -> None:
        """The process is no more; the law that was at work is what it did not survive."""
        self.ended[self.at_work or "the suite runs to its end"] = how
        self.at_work = None

    def laws(self, kind: str) -> list[Law]:
        """The cases of each law as one."""
        cases: dict[str, list[tuple[str, str | None]]] = {}
        for name, reason in self.ended.items():
            case = name.removesuffix("]").partition("[")[2]
            cases.setdefault(_words(name), []).append((case, reason))
        laws = []
        for words, ended in cases.items():
            why = next((f"with {case}: {reason}" if case else reason for case, reason in ended if reason is not None), None)
            laws.append(Law(kind=kind, law=words, ok=why is None, reason=why))
        return [*laws, *self._inapplicable(kind, cases)]

    def _inapplicable(self, kind: str, tried: Collection[str]) -> list[Law]:
        """The laws of which no case was tried."""
        reasons = {_words(name): reason for name, reason in self.skipped.items()}
        return [
            Law(kind=kind, law=words, ok=True, reason=reason, applies=False)
            for words, reason in reasons.items()
            if words not in tried
        ]


def _words(name: str) -> str:
    """A law as people read it."""
    return name.partition("[")[0].removeprefix("test_").replace("_", " ")


def check(name: str, law_s: float, present: Callable[[str], object] = util.find_spec) -> list[Law]:
    """All laws of the ranker and of the source of this name; each may take `law_s` seconds.

    Raises OperatorError when nothing of that name is installed, or what the suite needs is not.
    """
    if missing := [module for module in NEEDED if present(module) is None]:
        raise OperatorError(f"this needs {' and '.join(missing)}: pip install 'amity-rankers[testing]'")
    groups = [group for group in KINDS if any(point.name == name for point in registered(group))]
    if not groups:
        there = ", ".join(sorted({point.name for group in KINDS for point in registered(group)}))
        raise OperatorError(f"no installed distribution registers a ranker or a source {name!r}; there are {there}")
    return [law for group in groups for law in _run(group, name, law_s).laws(KINDS[group])]


def _run(group: str, name: str, law_s: float) -> Found:
    """Begun anew behind a law that hung or ended the process, so that the laws after it are tried as well."""
    found = Found()
    for _ in range(MOST_ENDS):
        with tempfile.TemporaryDirectory(prefix="amity-check-") as folder:
            if _listen(found, [group, name, folder], law_s) or found.ended.get(LOADS) is not None:
                return found
    found.ended["all other laws"] = f"not tried: {MOST_ENDS} times it did not end, or ended the process"
    return found


def _listen(found: Found, arguments: list[str], law_s: float) -> bool:
    """Whether one process came to its end in good order."""
    with _suite(arguments, [*found.ended, *found.skipped]) as (process, descriptor):
        for line in _lines(descriptor, law_s):
            if line is None:
                found.give_up(f"it did not end within {law_s:g} s")
                return False
            found.take(line)
        code = _code(process)
        if found.at_work is not None or code:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            found.give_up(f"it ended the process {how}")
            return False
    return True


@contextmanager
def _suite(arguments: list[str], done: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process, and the descriptor it writes to; ended with all that it has started."""
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "service.scaffold.suite", *arguments, str(writing), *done]
    try:
        process = subprocess.Popen(
            command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        os.close(writing)
        try:
            yield process, reading
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(reading)


def _code(process: subprocess.Popen[bytes]) -> int:
    """With what it ends, as `wait` gives it; left unreaped, so that its group is surely still its own when that is killed."""
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _lines(descriptor: int, wait_s: float) -> Iterator[str | None]:
    """Each line that arrives; None, and no more, when nothing does for so long."""
    rest = b""
    while select.select([descriptor], [], [], wait_s)[0]:
        read = os.read(descriptor, 1 << 16)
        if not read:
            return
        *whole, rest = (rest + read).split(b"\n")
        yield from (line.decode() for line in whole)
    yield None
