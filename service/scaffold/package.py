"""A new ranker's package: written whole from the templates beside this module, or not at all."""

import shutil
import tempfile
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path
from string import Template

from service.errors import OperatorError
from service.plugins import OWN_RANKERS
from service.scaffold.naming import Naming, place_of

FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    "src/{module}/ranker.py": "ranker.py.txt",
    "src/{module}/__init__.py": None,
    "src/{module}/py.typed": None,
    "tests/test_{module}.py": "test_ranker.py.txt",
}
"""What each file of the package is made of; None: empty. Templates end in .txt, so that no tool takes them for code of ours."""


def write_package(naming: Naming, folder: Path) -> Path:
    """The package's folder, under `folder`. Raises OperatorError when it exists or cannot be written."""
    place = place_of(naming, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{naming.name}-", dir=folder))
        try:
            for path, text in contents(naming).items():
                file = staged / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            staged.chmod(0o755)  # a temporary folder is its owner's alone
            staged.rename(place)
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # gone where all went well
    except OSError as exc:
        raise OperatorError(f"{place} cannot be written: {exc.strerror}") from exc
    return place


def contents(naming: Naming) -> dict[str, str]:
    """The text of each file, by its path in the package."""
    templates = resources.files("service.scaffold") / "template"
    contract = ".".join(metadata.version(OWN_RANKERS).split(".")[:2])
    words = asdict(naming) | {"contract": contract}
    return {
        path.format(module=naming.module): ""
        if template is None
        else Template((templates / template).read_text(encoding="utf-8")).substitute(words)
        for path, template in FILES.items()
    }
