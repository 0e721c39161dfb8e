"""What the Dockerfile says, for tests of it and of those who run the image."""

import re

from tests.embedded import ROOT


def instructions(word: str) -> list[str]:
    """What follows each such word, lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M))
    return [match.strip() for match in re.findall(rf"^{word}\s+(.*)$", text, re.M)]


def settings_of_image() -> dict[str, str]:
    """The settings that every container of it has."""
    said = dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split())
    return {name: value for name, value in said.items() if name.startswith("AMITY_")}
