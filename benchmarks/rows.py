"""What a benchmark gives: rows of one measured figure each."""

from collections.abc import Iterator, Sequence

import msgspec


class Row(msgspec.Struct, frozen=True):
    """`target` is the least value that is wanted, or the most where `at_most`; None where there is none yet."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """A table of them, with what is wanted and whether it is met."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        wanted = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:,g}: {'met' if row.met else 'MISSED'}"
        yield f"{row.name:<{width}}  {row.value:>14,.6g} {row.unit:<20} {wanted}"
