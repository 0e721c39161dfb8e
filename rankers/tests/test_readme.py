"""What the README shows is what is installed."""

import re
from importlib.metadata import entry_points
from pathlib import Path

from amity_rankers import popular
from amity_rankers.popular import PopularFactory
from amity_rankers.testing import RankerContract

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_ranker_in_the_readme_is_the_one_installed() -> None:
    assert blocks("python")[0] == Path(popular.__file__).read_text()
    (point,) = (point for point in entry_points(group="amity.rankers") if point.name == "popular")
    assert point.load() is PopularFactory


def test_ranker_in_the_readme_can_be_read_in_a_minute() -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip() and not line.startswith(('"""', "import", "from"))]
    assert len(lines) <= 24


def test_suite_in_the_readme_holds_for_it() -> None:
    names: dict[str, type[RankerContract]] = {}
    exec(blocks("python")[2], names)
    suite = names["TestPopular"]()
    assert type(suite).factory is PopularFactory
    suite.test_scoring_2000_candidates_is_quick(suite.kept())
    suite.test_ranker_takes_little_memory(suite.kept())


def test_modules_in_the_readme_exist() -> None:
    named = set(re.findall(r"`amity_rankers\.(\w+)`", README.read_text()))
    assert named >= {"contract", "testing", "people", "heuristic", "logistic", "lambdamart", "popular"}
    assert {name for name in named if not (Path(popular.__file__).parent / f"{name}.py").exists()} == set()
