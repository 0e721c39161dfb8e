"""A ranker judged before it serves: slates served by another, likes that bear their slates, and the command that reads it all."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from amity_rankers.contract import CONTRACT_VERSION, Floats, RankingBatch
from typer.testing import CliRunner

from service.cli import estimate
from service.cli.commands import app
from service.cli.estimate import Question
from service.domain import Profile
from service.errors import BundleInvalid, OperatorError, PluginBroken
from service.experiments.estimates import AS_DRAWN, EstimateReport
from service.plugins import EntryPoint, registered
from service.repositories.database import Database
from service.settings import Settings
from service.telemetry import silent
from tests.http.conftest import CITIES, N_PEOPLE, serving

ROUNDS = 4
NEAR_KM = 100.0


class Scored:
    def __init__(self, scoring: Callable[[Floats], Any]) -> None:
        self._scoring = scoring

    def score(self, batch: RankingBatch) -> Any:
        return self._scoring(batch.features[:, 0])


class Factory:
    """Of a ranker that no replica has ever heard of."""

    contract_version = CONTRACT_VERSION
    version = "1"
    light = True
    needs_bundle = False

    def __init__(self, scoring: Callable[[Floats], Any], feature: str = "distance_km", needs_bundle: bool = False) -> None:
        self._scoring = scoring
        self.required_features = (feature,)
        self.needs_bundle = needs_bundle

    def train(self, examples: Any) -> Scored:
        return Scored(self._scoring)

    def dump(self, ranker: Any) -> dict[str, Any]:
        return {}

    def load(self, arrays: Any) -> Scored:
        return Scored(self._scoring)


def raising(features: Floats) -> Floats:
    raise ValueError("I never could")


RANKERS = {
    "near": lambda: Factory(lambda km: np.exp(-km / 1000)),
    "far": lambda: Factory(lambda km: 1 - np.exp(-km / 1000)),
    "raising": lambda: Factory(raising),
    "nothing": lambda: Factory(lambda km: km * np.nan),
    "demanding": lambda: Factory(lambda km: km, feature="eye_colour"),
    "learned": lambda: Factory(lambda km: km, needs_bundle=True),
}


class Point(msgspec.Struct, frozen=True):
    name: str
    value: str = "tests:Factory"
    dist: Any = None

    def load(self) -> Any:
        return RANKERS[self.name]


def entry_points(group: str) -> Iterable[EntryPoint]:
    others = [Point(name) for name in RANKERS] if group == "amity.rankers" else []
    return [*registered(group), *others]


def is_near(viewer_id: int, candidate_id: int) -> bool:
    """Berlin and Potsdam are 30 km apart, Lisbon is far from both."""
    return (CITIES[viewer_id % 3][0] == "Lisbon") == (CITIES[candidate_id % 3][0] == "Lisbon")


async def live_a_while(client: httpx.AsyncClient, tastes: np.random.Generator, rounds: int) -> None:
    """Everybody looks once a round, and likes most of those near by whom exploration shows, and few of the others."""
    for viewer_id in [*range(1, N_PEOPLE + 1)] * rounds:
        path = f"/api/v1/recommendations/users/{viewer_id}/recommendations?use_cache=false"
        slate = (await client.get(path)).raise_for_status().json()
        explored = [person["id"] for person in slate["recommendations"] if person["slot"] == "exploration"]
        liked = [who for who in explored if tastes.random() < (0.6 if is_near(viewer_id, who) else 0.1)]
        acts = [{"actor_id": viewer_id, "target_id": who, "kind": "like", "slate_id": slate["slate_id"]} for who in liked]
        if acts:
            (await client.post("/api/v1/interactions", json={"interactions": acts})).raise_for_status()


async def lived(settings: Settings, rounds: int) -> Settings:
    settings = msgspec.structs.replace(settings, exploration_share=0.3, default_ranker="heuristic")
    async with serving(settings) as client:
        await live_a_while(client, np.random.default_rng(5), rounds)
    return settings


async def asked(settings: Settings, algorithm: str, **question: Any) -> EstimateReport:
    database = Database(settings.database_url)
    try:
        return await estimate.ask(settings, database, Question(algorithm=algorithm, **question), silent, entry_points)
    finally:
        await database.close()


async def test_the_better_of_two_rankers_is_found_before_either_serves(settings: Settings, people: list[Profile]) -> None:
    served = await lived(settings, ROUNDS)
    report = await asked(served, "near", against="far")
    assert report.log.explored == report.log.told == report.log.used == ROUNDS * N_PEOPLE
    assert report.likes.differences["far"].low > 0.1
    assert report.likes.differences[AS_DRAWN].low > 0
    near, far = (report.likes.estimates[name] for name in ("near", "far"))
    assert near.dr is not None
    assert far.dr is not None
    assert near.dr.value > 2 * far.dr.value
    assert "near would have brought more than far" in report.verdicts["likes"]
    assert "near would have brought more than far" in report.verdicts["matches"]
    turned = await asked(served, "far", against="near")
    assert turned.likes.differences["near"].high < -0.1
    assert "fewer" in turned.verdicts["likes"]
    assert report.agreement is not None
    assert report.agreement == turned.agreement
    assert report.agreement < 0.5
    await _as_a_command(served)
    await _refused(served)


async def _as_a_command(settings: Settings) -> None:
    variables = {"AMITY_DATABASE_URL": settings.database_url, "AMITY_HOME": str(settings.home)}
    heuristic = ["experiments", "estimate", "heuristic", "--against", "heuristic"]
    said = await asyncio.to_thread(CliRunner().invoke, app, [*heuristic, "--json"], env=variables)
    report = msgspec.json.decode(said.stdout, type=EstimateReport)
    assert (report.algorithm, report.against, report.agreement) == ("heuristic", "heuristic", 1.0)
    assert set(report.likes.estimates) == {"heuristic", AS_DRAWN}
    assert report.likes.differences.keys() == {AS_DRAWN}
    said = await asyncio.to_thread(CliRunner().invoke, app, heuristic, env=variables)
    assert "effective slots" in said.stdout
    assert report.verdicts["likes"] in said.stdout
    for wrong in (["--days", "-1"], ["--days", "nan"], ["--days", "inf"], ["--clip", "0.5"], ["--clip", "nan"]):
        done = await asyncio.to_thread(CliRunner().invoke, app, [*heuristic, *wrong], env=variables)
        assert isinstance(done.exception, OperatorError)
        assert wrong[0] in str(done.exception)


async def _refused(settings: Settings) -> None:
    for algorithm, words, error in (
        ("none_such", "no ranker named 'none_such' is installed; there are", OperatorError),
        ("demanding", "features that do not exist: eye_colour", OperatorError),
        ("learned", "no bundle is live", OperatorError),
        ("raising", "ranker 'raising' cannot score: ValueError: I never could", PluginBroken),
        ("nothing", "ranker 'nothing' cannot score: scores that are no numbers", PluginBroken),
    ):
        with pytest.raises(error, match=words):
            await asked(settings, algorithm, against="heuristic")
    with pytest.raises(BundleInvalid):
        await asked(settings, "near", against="far", bundle="20200101T000000-0000")


async def test_what_was_not_written_down_is_left_out_and_said(settings: Settings, people: list[Profile]) -> None:
    served = await lived(settings, rounds=1)
    database = Database(served.database_url)
    async with database.sessions() as session:
        connection = (await (await session.connection()).get_raw_connection()).driver_connection
        assert connection is not None
        await connection.execute("update served_features set names = array_replace(names, 'distance_km', 'gone')")
    await database.close()
    report = await asked(served, "near", against="far")
    assert (report.log.told, report.log.used) == (N_PEOPLE, 0)
    assert f"distance_km ({N_PEOPLE})" in report.notes[0]
    assert "nobody was drawn" in report.verdicts["likes"]


async def test_an_empty_log_is_no_failure(settings: Settings, tmp_path: Path) -> None:
    report = await asked(settings, "near", against="far", days=1.0)
    assert (report.log.explored, report.agreement) == (0, None)
    assert "nobody was drawn" in report.verdicts["likes"]
    assert report.lines()
