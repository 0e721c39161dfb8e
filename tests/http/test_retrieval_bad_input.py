"""Questions with nothing to find, values nobody has had before, and numbers at their bounds, on a bundle with vectors."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from service.domain import Kind, Profile
from service.repositories.database import Database
from service.settings import Settings
from tests.http.conftest import person, serving, store
from tests.integration.population_world import World, soon

PEOPLE = "/api/v1/users"
ANSWERS = "/api/v1/recommendations/users"
BY_FILTERS = "Everyone eligible is kept out by the filters."
BY_PREFERENCES = "Nobody is eligible: no active person is such that each is what the other seeks."


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    database = Database(database_url)
    yield World(database, tmp_path)
    await database.close()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """The bundles of `World` hold no ranker, and the heuristic one needs none."""
    return msgspec.structs.replace(settings, artifacts=str(tmp_path / "bundles"), default_ranker="heuristic")


@pytest.fixture
async def client(settings: Settings, people: list[Profile], world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Sixty people in a bundle; see `person`."""
    await world.publish("b1")
    async with serving(settings) as opened:
        yield opened


async def asked(client: httpx.AsyncClient, query: str = "limit=100", viewer_id: int = 1) -> dict[str, Any]:
    """A whole answer: nothing was bent to give it."""
    answer = await client.get(f"{ANSWERS}/{viewer_id}/recommendations?{query}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert (body["degraded"], body["total_count"]) == ([], len(body["recommendations"]))
    return body


async def ids(client: httpx.AsyncClient, query: str = "limit=100", viewer_id: int = 1) -> set[int]:
    return {found["id"] for found in (await asked(client, query, viewer_id))["recommendations"]}


async def put(client: httpx.AsyncClient, person_id: int, **profile: Any) -> None:
    answer = await client.put(f"{PEOPLE}/{person_id}", json={"name": "New"} | profile)
    assert answer.status_code == 201, answer.text


async def patch(client: httpx.AsyncClient, person_id: int, **changes: Any) -> None:
    answer = await client.patch(f"{PEOPLE}/{person_id}", json=changes)
    assert answer.status_code == 200, answer.text


async def until_found(client: httpx.AsyncClient, wanted: set[int], query: str, viewer_id: int = 1) -> None:
    """Returns once the answer is those people, as it is when the feed has come."""

    async def found() -> bool:
        return await ids(client, f"{query}&limit=100&use_cache=false", viewer_id) == wanted

    await soon(found)


def fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return sorted({problem["field"] for problem in answer.json()["detail"]})


async def test_the_only_person_there_is_gets_an_empty_list_that_says_so(settings: Settings) -> None:
    async with serving(settings) as client:
        assert (await client.get(f"{ANSWERS}/1/recommendations")).status_code == 404
        await put(client, 1, age=30, interests=["tea"])
        for _ in range(2):  # computed, and from a pool of nobody
            body = await asked(client)
            assert (body["total_count"], body["message"]) == (0, BY_PREFERENCES)
        assert (await client.get(f"{ANSWERS}/1/similar")).json()["similar"] == []


async def test_the_last_of_a_bundle_gets_an_empty_list_that_says_so(world: World, settings: Settings) -> None:
    await store(settings.database_url, [person(i) for i in (1, 2, 3)])
    await world.publish("b1")
    async with serving(settings) as client:
        assert await ids(client) == {2, 3}
        for other in (2, 3):
            assert (await client.delete(f"{PEOPLE}/{other}")).status_code == 204
        assert (await asked(client))["total_count"] == 0

        async def says_so() -> bool:  # as soon as memory has heard it too; until then it knows of people and asks for patience
            body = await asked(client)
            return (body["bundle_version"], body["total_count"], body["message"]) == ("b1", 0, BY_PREFERENCES)

        await soon(says_so)


@pytest.mark.parametrize(
    "query",
    [
        "gender=nobody",
        "location=Atlantis",
        "interests=levitation",
        "min_age=120",
        "max_age=18",
        "max_km=0.001&location=Lisbon",
        "active_within_days=1",
        "gender=female&min_age=24&max_age=24&interests=hobby+1",
    ],
)
async def test_a_filter_that_nobody_passes_gives_an_empty_list_that_says_so(client: httpx.AsyncClient, query: str) -> None:
    for cached in (False, True):
        body = await asked(client, query)
        assert (body["total_count"], body["message"], body["cached"]) == (0, BY_FILTERS, cached)


@pytest.mark.parametrize(
    "wishes",
    [
        {"seeks_genders": ["nobody"]},
        {"seeks_min_age": 120, "seeks_max_age": None},
        {"seeks_max_age": 18},
        {"latitude": 0.0, "longitude": 0.0, "seeks_max_km": 0.001},
        {"age": 100, "gender": "male"},
    ],
)
async def test_preferences_that_exclude_everybody_give_an_empty_list_that_says_so(
    world: World, settings: Settings, wishes: dict[str, Any]
) -> None:
    """The last are what nobody of the others seeks."""
    await store(settings.database_url, [person(i, seeks_genders=("female", "male"), seeks_max_age=99) for i in range(1, 20)])
    await world.publish("b1")
    async with serving(settings) as client:
        assert len(await ids(client)) == 18
        await patch(client, 1, **wishes)
        body = await asked(client)
    assert (body["total_count"], body["message"]) == (0, BY_PREFERENCES)


async def test_as_many_exclusions_as_a_request_may_have_are_heeded(client: httpx.AsyncClient) -> None:
    unknown = "&".join(f"exclude_ids={i}" for i in range(1000, 1441))
    everyone = "&".join(f"exclude_ids={i}" for i in range(1, 60))
    assert await ids(client, f"{everyone}&{unknown}&limit=100") == {60}
    body = await asked(client, f"{everyone}&exclude_ids=60")
    assert (body["total_count"], body["message"]) == (0, "Everyone eligible is among exclude_ids.")


async def test_more_exclusions_than_that_are_refused_by_name(client: httpx.AsyncClient) -> None:
    query = "&".join(f"exclude_ids={i}" for i in range(1, 502))
    assert fields(await client.get(f"{ANSWERS}/1/recommendations?{query}")) == ["exclude_ids"]


async def test_ten_thousand_whom_a_viewer_has_seen_or_blocked_are_kept_out(world: World, settings: Settings) -> None:
    await store(settings.database_url, [person(i) for i in range(1, 10_031)])
    await world.publish("b1")
    kinds = [Kind.LIKE, Kind.PASS, Kind.BLOCK]
    async with serving(settings) as client:
        for start in range(2, 10_002, 1000):
            acts = [{"actor_id": 1, "target_id": i, "kind": kinds[i % 3]} for i in range(start, start + 1000)]
            assert (await client.post("/api/v1/interactions", json={"interactions": acts})).status_code == 201
        assert await ids(client) == set(range(10_002, 10_031))
        again = await ids(client, "limit=100&exclude_seen=false")
        alike = (await client.get(f"{ANSWERS}/1/similar?limit=100")).json()["similar"]
    blocked = {i for i in range(2, 10_002) if kinds[i % 3] is Kind.BLOCK}
    assert (len(again), len(alike)) == (100, 100)
    assert not blocked & (again | {found["id"] for found in alike})


async def test_values_that_nobody_had_before_are_found_by_filters(client: httpx.AsyncClient) -> None:
    await put(client, 500, age=30, gender="Wizard", location="Atlantis", interests=["levitation", "tea"])
    for query in ("gender=wizard", "location=ATLANTIS", "interests=Levitation"):
        await until_found(client, {500}, query)
    assert await ids(client, "gender=wizard&gender=female&min_age=30&max_age=30&limit=100") > {500}


async def test_somebody_known_who_takes_a_value_that_nobody_had_is_found_by_it(client: httpx.AsyncClient) -> None:
    await patch(client, 2, gender="wizard", interests=["levitation"])
    await until_found(client, {2}, "gender=wizard")
    assert await ids(client, "interests=levitation") == {2}
    assert 2 not in await ids(client, "interests=tea&limit=100")


async def test_who_seeks_a_gender_that_nobody_had_gets_those_who_take_it(client: httpx.AsyncClient) -> None:
    await put(client, 500, gender="witch", seeks_genders=["wizard"])
    assert await ids(client, viewer_id=500) == set()
    await put(client, 501, gender="Wizard")
    await until_found(client, {501}, "", viewer_id=500)
    assert 500 not in await ids(client, "use_cache=false&limit=100")  # a woman's or a man's list


async def test_a_newcomer_of_whom_nothing_is_known_is_answered(client: httpx.AsyncClient) -> None:
    await put(client, 500)
    assert await ids(client, viewer_id=500) == set(range(1, 61))
    assert (await client.get(f"{ANSWERS}/500/recommendations?max_km=5")).status_code == 422
    assert (await client.get(f"{ANSWERS}/500/similar")).status_code == 200


@pytest.mark.parametrize("name", ["latitude", "longitude", "seeks_max_km"])
@pytest.mark.parametrize(("number", "status"), [("NaN", 400), ("Infinity", 400), ("-Infinity", 400), ("1e999", 422)])
async def test_numbers_that_are_none_are_refused(client: httpx.AsyncClient, name: str, number: str, status: int) -> None:
    place = {"latitude": "1", "longitude": "1"} | {name: number}
    body = '{"name": "A", ' + ", ".join(f'"{key}": {value}' for key, value in place.items()) + "}"
    answer = await client.put(f"{PEOPLE}/500", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert (await client.get(f"{PEOPLE}/500")).status_code == 404


@pytest.mark.parametrize("km", ["nan", "inf", "-inf", "1e400", "0", "-1", "1e-400"])
async def test_distances_that_are_none_are_refused_by_name(client: httpx.AsyncClient, km: str) -> None:
    assert fields(await client.get(f"{ANSWERS}/1/recommendations?max_km={km}")) == ["max_km"]


@pytest.mark.parametrize("km", ["1e-99", "20100", "1e99"])
async def test_the_shortest_and_the_longest_distances_are_distances(client: httpx.AsyncClient, km: str) -> None:
    """Everyone is in one of three cities, so that who is at no distance is in the same one."""
    near = {i for i in range(2, 61) if i % 3 == 1} if float(km) < 1 else set(range(2, 61))
    assert await ids(client, f"limit=100&max_km={km}") == near
    await patch(client, 1, seeks_max_km=float(km))
    assert await ids(client) == near


@pytest.mark.parametrize(
    ("one", "other"), [((90.0, 0.0), (90.0, 180.0)), ((10.0, 180.0), (10.0, -180.0)), ((-90.0, -180.0), (-90.0, 77.0))]
)
async def test_one_place_with_two_names_is_one_place(
    client: httpx.AsyncClient, one: tuple[float, float], other: tuple[float, float]
) -> None:
    await put(client, 500, latitude=one[0], longitude=one[1])
    await put(client, 501, latitude=other[0], longitude=other[1])
    await until_found(client, {501}, "max_km=0.01", viewer_id=500)


async def test_ages_at_the_bounds_are_found_and_ages_beyond_refused(client: httpx.AsyncClient) -> None:
    await put(client, 500, age=18)
    await put(client, 501, age=120)
    await until_found(client, {500}, "min_age=18&max_age=18")
    await until_found(client, {501}, "min_age=120&max_age=120")
    assert {500, 501} < await ids(client, "min_age=18&max_age=120&limit=100")
    await patch(client, 1, seeks_min_age=120, seeks_max_age=120)
    assert await ids(client) == {501}
    for query, name in (("min_age=17", "min_age"), ("max_age=121", "max_age"), ("min_age=nan", "min_age")):
        assert fields(await client.get(f"{ANSWERS}/1/recommendations?{query}")) == [name]
    for field in ("age", "seeks_min_age", "seeks_max_age"):
        for age in (17, 121):
            assert fields(await client.put(f"{PEOPLE}/502", json={"name": "A", field: age})) == [field]
