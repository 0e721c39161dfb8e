"""Somebody who reads a page of the documentation from top to bottom and does what it says.

On top of `tests.pages`: a block that ends in `make run`, `amity up` or `amity serve` is a terminal of its own, which goes on
serving; a `json` block straight after one that was typed is what that one answers, by its keys and types; and `curl` fails where
the answer is an error, unless the page shows one.
"""

import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.embedded import ROOT
from tests.pages import Block, Shell, blocks
from tests.replicas import environment

COMMAND_S, SERVES_S = 150.0, 180.0
_SERVES = re.compile(r"^(?:\w+=\S+ )*(?:make run|\S*amity (?:up|serve)\b[^\n&|]*)\s*\Z", re.M)
_PORT = re.compile(r"AMITY_PORT=(\d+)")


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def reader_settings(home: Path, **settings: str) -> dict[str, str]:
    """The environment of a reader whose home folder this is, and whose commands are those of the Python that runs the tests."""
    minding = home / "minding"
    minding.mkdir(exist_ok=True)
    (minding / ".curlrc").write_text("fail-with-body\n")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return environment({"HOME": str(home), "CURL_HOME": str(minding), "PATH": path, **settings})


class Reader:
    """Reads pages in one shell. `port` is where a service listens that is started without naming one: the page's 8000, here.

    `instead` has commands of pages that would install or load what is there already, and what is typed for them.
    """

    def __init__(self, shell: Shell, port: str, instead: Mapping[str, str] | None = None) -> None:
        self.shell = shell
        self.port = port
        self.instead = dict(instead or {})
        self.unused = set(self.instead)
        self.command_s = COMMAND_S

    def reads(self, page: str, *headings: str) -> None:
        """Types every block of a page that is to be typed, and compares what it shows. The page is named from the root of the
        repository; with headings, only what stands straight under these is read."""
        found = blocks(ROOT / page)
        for block, after in pairwise([*found, None]):
            if block is None or block.language != "sh" or not block.can_run or (headings and block.heading not in headings):
                continue
            shown = json.loads(after.text) if after is not None and _follows(page, block, after) else None
            said = self._types(block, shows_error=isinstance(shown, dict) and "error" in shown)
            if shown is not None:
                assert (difference := unlike(shown, _json(said, block))) == "", f"{block}: {difference}\n{said}"

    def _types(self, block: Block, shows_error: bool) -> str:
        text = self._own(block.text)
        if _SERVES.search(text):
            self._serves(replace(block, text=text))
            return ""
        if shows_error:  # a curl that minds no status
            text = f'minded=$CURL_HOME; export CURL_HOME=/nowhere\n{text}\nexport CURL_HOME="$minded"\n'
        return self.shell.types(replace(block, text=text), self.command_s)

    def _own(self, text: str) -> str:
        for told, typed in self.instead.items():
            if told in text:
                self.unused.discard(told)
                text = text.replace(told, typed)
        return text

    def _serves(self, block: Block) -> None:
        """In the background, until it is ready; a shell that ends ends it too."""
        log = self.shell.folder / f"serves-{block.page}-{block.line}.log"
        self.shell.types(replace(block, text=f"{block.text.rstrip()} > '{log}' 2>&1 &\n"))
        named = _PORT.search(self.shell.changed(block.text))
        url = f"http://127.0.0.1:{named.group(1) if named else self.port}/health/ready"
        end = time.monotonic() + SERVES_S
        while not _answers(url):
            assert time.monotonic() < end, f"{block} does not serve at {url}:\n{log.read_text()}"
            time.sleep(0.2)


def _follows(page: str, block: Block, after: Block) -> bool:
    """Whether nothing lies between a command and what it answers."""
    if after.language != "json":
        return False
    lines = (ROOT / page).read_text().splitlines()
    end = block.line + block.text.count("\n") + 1
    return all(not line.strip() for line in lines[end : after.line - 1])


def _answers(url: str) -> bool:
    """Whether it is ready. Not by httpx, which takes 20 ms of CPU to get ready for TLS each time."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _json(said: str, block: Block) -> Any:
    try:
        return json.loads(said)
    except ValueError as exc:
        raise AssertionError(f"{block}: the page shows JSON, and the command said {said!r}") from exc


def unlike(shown: Any, real: Any, where: str = "$") -> str:
    """The first place where a real answer has other keys, or values of another type, than a page shows; empty: nowhere.

    Lists may show fewer than there are, but for empty ones, which say that there are none. null stands for any type: what is
    known of one person is not known of another.
    """
    if isinstance(shown, dict) and isinstance(real, dict):
        if shown.keys() != real.keys():
            return f"{where} has {sorted(real.keys() - shown.keys())} more and lacks {sorted(shown.keys() - real.keys())}"
        return next(filter(None, (unlike(shown[key], real[key], f"{where}.{key}") for key in shown)), "")
    if isinstance(shown, list) and isinstance(real, list):
        if bool(shown) is not bool(real):
            return f"{where} is {real!r}"
        pairs = ((one, real[min(index, len(real) - 1)]) for index, one in enumerate(shown))
        return next(filter(None, (unlike(one, other, f"{where}[]") for one, other in pairs)), "")
    return "" if shown is None or real is None or _kind(shown) is _kind(real) else f"{where} is {real!r}"


def _kind(value: Any) -> type:
    """Whole numbers are numbers."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
