"""The ranker in the README is one that passes."""

import re
from pathlib import Path
from typing import Any

from amity_rankers.testing import RankerContract


def shown() -> dict[str, Any]:
    """The names that the README's first Python block defines."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block.group(1), names)
    return names


class TestPopular(RankerContract):
    factory = shown()["PopularFactory"]
