"""Whose time a stack of calls is: pure, so that a profile can be read by the parts of a request and not by functions."""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

Frame = tuple[str, str]
"""A file, as short as it is told from others, and a function in it."""

WITHIN = (
    ("impressions written", ("service/recommend/impressions.py", "service/repositories/impressions.py")),
    ("change feed, bundles", ("service/population/feed.py", "service/population/watcher.py", "service/population/loader.py")),
    ("log lines", ("structlog/", "service/logs.py", "logging/")),
    ("traces", ("opentelemetry/",)),
    ("metrics", ("prometheus_client/",)),
)
"""Parts to which all belongs that is called from there, the first that applies."""
ALONE = {"service/recommend/impressions.py": {"offer"}}
"""Functions that run within a request although their file is otherwise a part in the background."""
LIBRARIES = {
    "redis/": "Redis client",
    "asyncpg/": "PostgreSQL client",
    "sqlalchemy/": "PostgreSQL client",
    "litestar/": "Litestar",
    "uvicorn/server.py": "event loop, nothing of ours on the stack",
    "uvicorn/": "uvicorn and sockets",
    "service/cli/": "event loop, nothing of ours on the stack",
    "faiss/": "faiss",
    "lightgbm/": "lightgbm",
    "sklearn/": "scikit-learn",
    "msgspec/": "msgspec",
}
"""Otherwise: the innermost frame that is one of these, or a module of the service or of the rankers."""

WAITING = {
    ("threading.py", "wait"),
    ("concurrent/futures/thread.py", "_worker"),
    ("selectors.py", "select"),
    ("socketserver.py", "serve_forever"),
    ("service/threads.py", "_work"),
}
"""Where a thread stands that has nothing to do."""
LOOP = ("asyncio/runners.py", "run")

_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)$")
_OURS = re.compile(r"(service|amity_rankers)/.*\.py$")
_ROOTS = re.compile(r".*/(?:site-packages|python3\.\d+|rankers/src)/|.*/(?=service/)")


def parse(line: str) -> tuple[list[Frame], int]:
    """A line of a raw profile, `function (file:line);... count`, as frames, the outermost first, and the count."""
    stack, _, count = line.strip().rpartition(" ")
    return frames_of(stack), int(count)


def frames_of(stack: str) -> list[Frame]:
    """The frames of `function (file:line);...`, in that order."""
    return [frame for each in stack.split(";") if (frame := _frame(each)) is not None]


@functools.cache
def _frame(text: str) -> Frame | None:
    found = _FRAME.match(text)
    return None if found is None else (_ROOTS.sub("", found["file"]), found["function"].rpartition(".")[2])


def waits(stack: Sequence[Frame]) -> bool:
    """Whether a thread with this stack has nothing to do."""
    return bool(stack) and stack[-1] in WAITING


def in_loop(stack: Sequence[Frame]) -> bool:
    """Whether nothing but the event loop itself is on this stack: it works in C, or waits."""
    return bool(stack) and stack[-1] == LOOP


def part_of(stack: Sequence[Frame]) -> str:
    """The part of the work that this stack, outermost first, is at."""
    for name, files in WITHIN:
        if any(file.startswith(files) and function not in ALONE.get(file, ()) for file, function in stack):
            return name
    for file, _ in reversed(stack):
        if (library := next((name for start, name in LIBRARIES.items() if file.startswith(start)), None)) is not None:
            return library
        if _OURS.match(file):
            return file.removesuffix(".py").replace("/", ".")
    return "other"


def at_work(lines: Iterable[str]) -> Iterator[tuple[list[Frame], int]]:
    """The stacks of a raw profile without those of threads that wait, and how many samples each has."""
    for line in lines:
        stack, count = parse(line)
        if stack and not waits(stack):
            yield stack, count


def parts(lines: Iterable[str]) -> Counter[str]:
    """How many samples each part has."""
    counts: Counter[str] = Counter()
    for stack, count in at_work(lines):
        counts[part_of(stack)] += count
    return counts


def hottest(lines: Iterable[str], n: int) -> list[tuple[str, int]]:
    """The functions in which most samples ended, and how many."""
    counts: Counter[str] = Counter()
    for stack, count in at_work(lines):
        counts["{}:{}".format(*stack[-1])] += count
    return counts.most_common(n)
