"""What `amity migrate` and `amity doctor` tell of the schema."""

import asyncio

import pytest

from service.cli import schema
from service.cli.doctor import _schema
from service.errors import BadSetting
from service.settings import Settings
from tests.migrations.conftest import Versions

WAIT_S = 5.0


def told(capsys: pytest.CaptureFixture[str], url: str, contract: bool = False, back_to: str | None = None) -> list[str]:
    schema.move(Settings(database_url=url), schema.Way(contract, back_to, WAIT_S), as_json=False)
    return capsys.readouterr().out.splitlines()


def test_each_step_says_what_it_did_and_what_waits(
    database_url: str, versions: Versions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, database_url) == ["the schema is up to date"]
    versions.next()
    waits = f"waiting for --contract: {versions.contract}"
    assert told(capsys, database_url) == [f"applied {versions.column}", f"applied {versions.values}", waits]
    assert told(capsys, database_url) == ["the schema is up to date", waits]
    doctor = asyncio.run(_schema(Settings(database_url=database_url)))
    assert doctor == f"revision {versions.values}; {versions.contract} wait for `amity migrate --contract`"
    assert told(capsys, database_url, contract=True) == [f"applied {versions.contract}"]
    assert told(capsys, database_url, back_to=versions.values) == [f"undone {versions.contract}"]


def test_forward_and_back_at_once_is_refused(database_url: str) -> None:
    with pytest.raises(BadSetting, match="--contract goes forward and --back-to goes back"):
        schema.move(Settings(database_url=database_url), schema.Way(True, "0001", WAIT_S), as_json=False)
