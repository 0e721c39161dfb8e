"""The tables of docs/observing.md, as tests read them."""

import re

from tests.embedded import ROOT

PAGE = ROOT / "docs" / "observing.md"
Row = tuple[str, ...]


def table(heading: str, first: str) -> list[Row]:
    """The rows of the table whose first column is named so, in the section of that heading; cells without markup of code."""
    section = re.split(rf"^#+ {re.escape(heading)}$", PAGE.read_text(), flags=re.M)[1]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    begin = next(place for place, line in enumerate(rows) if line.startswith(f"| {first} |"))
    found: list[Row] = []
    for line in rows[begin + 2 :]:
        if re.fullmatch(r"\|(-+\|)+", line):  # the next table's rule: its head came too
            found.pop()
            break
        found.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return found


def quoted(cell: str) -> list[str]:
    """What a cell sets in code."""
    return re.findall(r"`([^`]+)`", cell)
