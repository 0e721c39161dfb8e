"""What the commands say: progress on stderr (a bar on a terminal, plain lines elsewhere), answers on stdout."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from service.telemetry import Progress as Report

console = Console(stderr=True, highlight=False)
PLAIN_EVERY_S = 5.0


def say(line: str) -> None:
    """One line to whoever watches."""
    console.print(line, markup=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Report]:
    """A Progress for long work, fit for the terminal or the log it is shown on."""
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        ) as bars:
            yield _Bars(bars)
    else:
        yield _Lines()


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)


class _Lines:
    """A line when a step begins, one every few seconds, and one when it is complete."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._complete: set[str] = set()

    def __call__(self, step: str, done: int, total: int | None) -> None:
        complete = total is not None and done >= total
        now_s = time.monotonic()
        if step in self._complete or (not complete and now_s - self._said.get(step, -PLAIN_EVERY_S) < PLAIN_EVERY_S):
            return
        self._said[step] = now_s
        if complete:
            self._complete.add(step)
        say(f"{step}: {done:,} of {total:,}" if total is not None else f"{step}: {done:,}" if done else step)


def answer(value: Any, as_json: bool, lines: list[str]) -> None:
    """The command's result on stdout: JSON for scripts, else lines for people."""
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(value), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout. What is too long goes on in the next line: half a name is of no use to another command."""
    grid = Table(*(Column(name, overflow="fold") for name in columns), title=title, title_justify="left")
    for row in rows:
        grid.add_row(*row)
    Console().print(grid, markup=False)
