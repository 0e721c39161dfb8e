"""What `amity migrate` and `amity doctor` tell of the schema."""

import asyncio

import pytest

from service.cli import run, schema
from service.cli.doctor import _schema
from service.errors import BadSetting
from service.repositories import migrate
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
    assert told(capsys, database_url, back_to=versions.values) == [f"nothing was applied after {versions.values}"]


def test_forward_and_back_at_once_is_refused(database_url: str) -> None:
    with pytest.raises(BadSetting, match="--contract goes forward and --back-to goes back"):
        schema.move(Settings(database_url=database_url), schema.Way(True, "0001", WAIT_S), as_json=False)


def test_up_takes_nothing_away_from_the_database_of_an_operator(
    database_url: str, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def all_there(_settings: Settings) -> run.State:
        return run.State(n_people=1, bundle_live=True)

    monkeypatch.setattr(run, "_look", all_there)
    monkeypatch.setattr(run, "_serve", lambda *_, **__: None)
    monkeypatch.setattr(run, "_stop_in_good_order", lambda: None)
    versions.next()
    run.up(Settings(database_url=database_url, redis_url="redis://nobody", port=0), 0, 0)
    assert asyncio.run(migrate.waiting(database_url)) == [versions.contract]
