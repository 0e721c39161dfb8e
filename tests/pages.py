"""What pages tell their reader to type, and a shell to type it in.

A fenced block of the language `sh` is typed by a test. One that cannot be says why in the line above it:
`<!-- not run: needs a Docker engine -->`, which no reader sees. One that `<!-- needs: prometheus -->` is left out where there is
no such program, but in CI, which has to have them all.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.embedded import ROOT
from tests.programs import all_are_demanded

_LINES = re.compile(r"^(#+) +([^\n]*)$|^```(\w*)[^\n]*\n(.*?)^```$|^<!-- (not run|needs): (.*?) -->$", re.MULTILINE | re.DOTALL)
END_S = 30.0
"""How long what a shell started gets to end in good order."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `heading` is the nearest above it, `not_run` why no test types it, `needs` the program without which it
    cannot be typed, `line` that of its fence."""

    page: str
    heading: str
    language: str
    text: str
    line: int
    not_run: str = ""
    needs: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def can_run(self) -> bool:
        missing = self.needs and shutil.which(self.needs) is None
        return not self.not_run and (not missing or all_are_demanded())


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text, heading = page.read_text(), ""
    notes: dict[str, str] = {}
    found = []
    for match in _LINES.finditer(text):
        title, language, inside, note, what = match.group(2, 3, 4, 5, 6)
        if title is not None:
            heading = title
        elif note is not None:
            notes[note] = what
        else:
            line = text.count("\n", 0, match.start()) + 1
            said = notes.get("not run", ""), notes.get("needs", "")
            found.append(Block(page.name, heading, language, inside, line, *said))
            notes = {}
    return found


@dataclass(slots=True)
class Shell:
    """One bash, as a reader has it open: what a block exports, starts and changes to is there for the next.

    `other` are words of the page that have others here, as ports do that somebody may hold: `{"8000": "41523"}`.
    Blocks run in `start` (the checkout); what they say goes to files in `folder`. Leaving ends all that was started.
    """

    folder: Path
    environment: Mapping[str, str]
    other: Mapping[str, str] = field(default_factory=dict)
    start: Path = ROOT
    _bash: subprocess.Popen[bytes] = field(init=False)
    _n_typed: int = field(init=False, default=0)

    def __enter__(self) -> Self:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail"],
            cwd=self.start,
            env=dict(self.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """SIGTERM to everything, as closing a terminal does; SIGKILL to what heeds it not."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(BrokenPipeError):  # it has failed, and is gone
            self._bash.communicate()
        end = time.monotonic() + END_S
        while self._anyone_left() and time.monotonic() < end:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def types(self, block: Block, timeout_s: float = 60.0) -> str:
        """What the block says on standard output, once its last command in the foreground has ended.

        Raises AssertionError, with everything that was said, when any command of it fails or it takes too long.
        """
        assert not block.not_run, f"{block} is not run: {block.not_run}"
        self._n_typed += 1
        stem = self.folder / f"{Path(block.page).stem}-{self._n_typed}"
        script, out, err = (stem.with_suffix(suffix) for suffix in (".sh", ".out", ".err"))
        script.write_text(self.changed(block.text))
        assert self._bash.stdin is not None
        self._bash.stdin.write(f". '{script}' < /dev/null > '{out}' 2> '{err}'\necho typed\n".encode())
        self._bash.stdin.flush()
        answer = self._answer(timeout_s)
        said = out.read_text() if out.exists() else ""
        errors = err.read_text() if err.exists() else ""
        assert answer == "typed", f"{block} {answer}:\n{script.read_text()}\n--- it said\n{said}{errors}"
        return said

    def changed(self, text: str) -> str:
        """With this machine's words in the place of the page's."""
        for theirs, ours in self.other.items():
            text = re.sub(rf"\b{re.escape(theirs)}\b", ours, text)
        return text

    def _answer(self, timeout_s: float) -> str:
        assert self._bash.stdout is not None
        there, _, _ = select.select([self._bash.stdout], [], [], timeout_s)
        if not there:
            return f"has not ended after {timeout_s:.0f} s"
        return self._bash.stdout.readline().decode().strip() or "failed"

    def _anyone_left(self) -> bool:
        try:
            os.killpg(self._bash.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(self._bash.pid, which)
