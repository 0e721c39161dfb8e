"""Every page that has something to type is typed by a test, and every `amity` command that pages tell is one, with those
arguments and options. Nothing is run here."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException
from typer.main import get_command

from service.cli.commands import app
from service.features.definitions import FEATURES
from tests.pages import blocks

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CHANGELOG.md", "rankers/README.md", "service/experiments/README.md", "benchmarks/README.md")
BY_TERMINAL = "tests/faults/test_docs_commands.py"
TYPED_BY = {
    "README.md": BY_TERMINAL,
    "docs/api.md": BY_TERMINAL,
    "docs/concepts.md": BY_TERMINAL,
    "docs/deploying.md": "tests/faults/test_deploy_processes.py",
    "docs/experiments.md": BY_TERMINAL,
    "docs/getting-started.md": BY_TERMINAL,
    "docs/importing.md": BY_TERMINAL,
    "docs/observing.md": BY_TERMINAL,
    "docs/ranker-walk.md": "tests/faults/test_ranker_walk.py",
    "docs/reliability.md": BY_TERMINAL,
    "docs/security.md": BY_TERMINAL,
    "docs/sizing.md": BY_TERMINAL,
    "docs/upgrading.md": "tests/faults/test_upgrade_rehearsal.py",
    "docs/writing-a-ranker.md": BY_TERMINAL,
}
"""Each page that has commands to type, and the test that types them."""
COMMAND = re.compile(r"^(?:\S*/)?amity\s")
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.M | re.S)
QUOTED = re.compile(r"`([^`]+)`")


def pages() -> list[Path]:
    return [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in PAGES)]


def told(pattern: re.Pattern[str], text: str) -> Iterator[list[str]]:
    """The arguments of each command in what the pattern finds; a comment after it is left out."""
    for found in pattern.findall(text):
        for line in found.replace("\\\n", " ").splitlines():
            if COMMAND.match(line):
                yield shlex.split(line, comments=True)[1:]


def in_blocks() -> list[list[str]]:
    return [words for page in pages() for words in told(FENCED, page.read_text())]


def in_sentences() -> list[list[str]]:
    """With placeholders, and options in brackets."""
    texts = [re.sub(r"\s+", " ", FENCED.sub("", page.read_text())) for page in pages()]
    return [[word.strip("[]") for word in words] for text in texts for words in told(QUOTED, text)]


def resolved(words: list[str]) -> tuple[typer.Context, list[str]]:
    """The context of the command that they name, and the words after its name. An unknown command raises."""
    context = typer.Context(get_command(app), info_name="amity")
    while hasattr(context.command, "resolve_command") and words and not words[0].startswith("-"):
        name, command, words = context.command.resolve_command(context, words)
        context = typer.Context(command, info_name=name, parent=context)
    return context, words


def parse(words: list[str]) -> None:
    """Raises what the command would refuse them with."""
    context, rest = resolved(words)
    assert not hasattr(context.command, "resolve_command"), "a group alone does nothing"
    context.command.parse_args(context, rest)


@pytest.mark.parametrize("words", in_blocks(), ids=" ".join)
def test_a_command_of_a_page_can_be_typed_as_it_stands(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("words", in_sentences(), ids=" ".join)
def test_a_command_in_a_sentence_exists_with_its_options(words: list[str]) -> None:
    context, rest = resolved(words)
    known = {option for parameter in context.command.get_params(context) for option in parameter.opts}
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= known | {"--help"}


@pytest.mark.parametrize("line", ["experiments begin x", "experiments report x --pdf y", "experiments ramp x", "train x"])
def test_what_is_not_a_command_is_found_out(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line.split())


def test_pages_tell_commands_at_all() -> None:
    assert len(in_blocks()) >= 20
    assert len(in_sentences()) >= 15


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_to_files_that_there_are(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", FENCED.sub("", page.read_text()))
    assert [link for link in links if not (page.parent / link).exists()] == []


def typed(page: Path) -> bool:
    return any(block.language == "sh" and not block.not_run for block in blocks(page))


def test_every_page_that_has_something_to_type_is_typed_by_a_test() -> None:
    pages_with_commands = {
        str(page.relative_to(ROOT)) for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md") if typed(page)
    }
    assert pages_with_commands == set(TYPED_BY)


@pytest.mark.parametrize(("page", "test"), TYPED_BY.items())
def test_the_test_of_a_page_names_it(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / test).read_text()


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in pages() if page.parent.name == "docs" and f"]({page.name})" not in index] == ["README.md"]


def test_the_features_of_the_page_are_those_there_are() -> None:
    page = (ROOT / "docs" / "writing-a-ranker.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| (.*?) \| .*? \| (.*) \|$", page, re.M)
    assert [row for row in told if row[0] in FEATURES] == [(one.name, one.unit, one.help) for one in FEATURES.values()]
