"""The process in which a plug-in is held to its contract: loads it, runs the laws, and writes down each as it begins and ends.

Apart from the command that asks, since a plug-in may hang, end the process or crash it.
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Collection, Generator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest

from service.errors import PluginBroken
from service.features.definitions import FEATURES
from service.plugins import RANKERS, SOURCES, build_plugin, check_common, check_factory, registered
from service.scaffold.check import LOADS

SUITES = {RANKERS: "RankerContract", SOURCES: "SourceContract"}
_ARGUMENTS = ("-q", "--disable-plugin-autoload", "--noconftest", "--import-mode=importlib", "-p", "no:cacheprovider")
_EMPTY = re.compile(r"(assert )?(False|np\.False_)?")


class Recorder:
    """A pytest plug-in that writes a line a law: when it begins, and how it ended. Laws in `done` are not run again."""

    def __init__(self, lines: IO[str], package: str, done: Collection[str]) -> None:
        self._lines = lines
        self._package = package
        self._done = done

    def write(self, **said: Any) -> None:
        self._lines.write(json.dumps(said) + "\n")
        self._lines.flush()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.name not in self._done]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(begins=nodeid.rpartition("::")[2])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: "pytest.CallInfo[None]"
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        raised = None if call.excinfo is None else call.excinfo.value
        if isinstance(raised, pytest.skip.Exception):
            self.write(ends=item.name, skipped=str(raised))
        elif raised is not None or call.when == "call":
            self.write(ends=item.name, reason=None if raised is None else reason_of(raised, self._package))
        return report


def main(arguments: list[str]) -> None:
    """`group`, `name`, a folder for the suite, the descriptor to write to, and the laws already run."""
    group, name, folder, descriptor, *done = arguments
    os.chdir(folder)
    pytest.register_assert_rewrite("amity_rankers")  # whose laws say what they found
    with os.fdopen(int(descriptor), "w") as lines:
        recorder = Recorder(lines, _package(group, name), done)
        recorder.write(begins=LOADS)
        try:
            load(group, name)
        except PluginBroken as exc:
            recorder.write(ends=LOADS, reason=str(exc))
            return
        recorder.write(ends=LOADS, reason=None)
        test = Path(folder) / "test_suite.py"
        test.write_text(f"from service.scaffold.suite import suite\n\nTestPlugin = suite({group!r}, {name!r})\n")
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        ended = pytest.main([*_ARGUMENTS, "-c", str(Path(folder) / "pytest.ini"), str(test)], [recorder])
    fine = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED} | ({pytest.ExitCode.NO_TESTS_COLLECTED} if done else set())
    if ended not in fine:
        sys.exit(int(ended))


def load(group: str, name: str) -> Any:
    """What the plug-in's entry point names, checked as the service checks it. Raises PluginBroken."""
    points = [point for point in registered(group) if point.name == name]

    def build(name: str, made: Any, origin: tuple[str, str]) -> Any:
        if group == RANKERS:
            check_factory(made, FEATURES)
        else:
            check_common(made, ("find",))
        return made

    build_plugin(name, points, build)
    return points[0].load()


def suite(group: str, name: str) -> type:
    """The contract's suite for one plug-in, for pytest to find."""
    contract = getattr(import_module("amity_rankers.testing"), SUITES[group])
    attribute = "factory" if group == RANKERS else "source"
    never = tuple(feature.name for feature in FEATURES.values() if feature.default == feature.default)
    return type("TestPlugin", (contract,), {attribute: staticmethod(load(group, name)), "never_missing": never})


def reason_of(exc: BaseException, package: str) -> str:
    """One line in words, and where in the plug-in's own code it happened."""
    while isinstance(exc, BaseExceptionGroup):  # what hypothesis makes of several ways to break one law
        exc = exc.exceptions[0]
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    if isinstance(exc, AssertionError):
        several = bool(lines) and lines[0].startswith(("Arrays are not", "Not equal to"))  # numpy says how many, and by how much
        said = "; ".join(lines[:3]) if several else (lines[0].removeprefix("assert ") if lines else "")
        said = "does not hold" if _EMPTY.fullmatch(said) else said
    elif isinstance(exc, pytest.fail.Exception):
        said = lines[0].replace("DID NOT RAISE", "nothing was raised, and has to be") if lines else "does not hold"
    else:
        said = f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__
    places = [frame for frame in traceback.extract_tb(exc.__traceback__) if _is_of(frame.filename, package)]
    return f"{said} ({Path(places[-1].filename).name}, line {places[-1].lineno}, in {places[-1].name})" if places else said


def _package(group: str, name: str) -> str:
    """The package, or the module, that the plug-in's entry point names."""
    values = [str(point.value) for point in registered(group) if point.name == name]
    return re.split(r"[.:]", values[0])[0] if values else ""


def _is_of(file: str, package: str) -> bool:
    return bool(package) and package in (*Path(file).parts, Path(file).stem)


if __name__ == "__main__":
    main(sys.argv[1:])
