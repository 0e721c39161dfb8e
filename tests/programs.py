"""Programs that tests drive and a machine may lack: there a test that needs one is skipped. In CI, which has to have them all, it
fails."""

import os
import shutil
from pathlib import Path

import pytest


def all_are_demanded() -> bool:
    """Whether this is a machine of CI."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def program(*names: str, brought_by: str, folder: Path | None = None) -> str:
    """The path of the first of these names that is on the PATH, or in `folder`. Without any the running test ends here: skipped,
    or failed in CI; what it says names `brought_by`, where to get one from."""
    for name in names:
        if (found := shutil.which(name, path=None if folder is None else str(folder))) is not None:
            return found
    told = f"{names[0]} is missing: {brought_by} brings it"
    if all_are_demanded():
        pytest.fail(told)
    pytest.skip(told)
