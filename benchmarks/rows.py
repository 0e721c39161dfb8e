"""What a benchmark gives: rows of one measured figure each."""

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
