"""The OpenAPI document is true for every route."""

import re
from typing import Any

import httpx
import pytest
from litestar.routes import HTTPRoute

from service.app import create_app
from service.controllers.openapi import openapi
from service.controllers.routes import spec_of
from service.settings import Settings

APP = create_app(Settings())
DOCUMENT = openapi(APP, "0")
_FOUND = [
    (route.path_format, method.lower(), spec_of(handler.opt))
    for route in APP.routes
    if isinstance(route, HTTPRoute) and not route.path_format.startswith("/console")  # pages for people
    for handler in route.route_handlers
    for method in sorted(handler.http_methods)
    if method != "OPTIONS"
]
ROUTES = sorted(_FOUND, key=lambda found: found[:2])  # Litestar's order is that of sets, and differs between workers


def references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(references, node))
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set()


@pytest.mark.parametrize(("path", "method", "spec"), ROUTES, ids=[f"{method} {path}" for path, method, _ in ROUTES])
def test_every_route_is_there_with_its_parameters_and_all_its_answers(path: str, method: str, spec: Any) -> None:
    assert spec is not None, "a route without a spec"
    operation = DOCUMENT["paths"][path][method]
    expected = {str(status) for status in (*spec.replies, *spec.errors, 405, 422, 500)}
    expected |= {"401", "403"} if spec.scope else set()
    expected |= {"400", "408", "413", "415"} if spec.body else set()
    assert set(operation["responses"]) == expected
    in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    in_query = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
    assert in_query == set(spec.query.__struct_fields__ if spec.query else ())
    assert ("requestBody" in operation) is (spec.body is not None)


def test_every_route_of_the_interface_is_there() -> None:
    assert set(DOCUMENT["paths"]) == {
        "/api/v1/recommendations/users/{user_id}/recommendations",
        "/api/v1/recommendations/users/{user_id}/similar",
        "/api/v1/recommendations/users/{user_id}/rank",
        "/api/v1/recommendations/users/{user_id}/why/{candidate_id}",
        "/api/v1/recommendations/refresh",
        "/api/v1/recommendations/performance",
        "/api/v1/users/{user_id}",
        "/api/v1/users/batch",
        "/api/v1/users/{user_id}/matches",
        "/api/v1/interactions",
        "/api/v1/algorithms",
        "/api/v1/experiments",
        "/api/v1/experiments/{name}",
        "/api/v1/experiments/{name}/report",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/schema",
        "/schema/openapi.json",
    }


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        node: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert sorted(set(names)) == sorted(names)
    assert {"schema", "schema_openapi_json"} <= set(names)


def test_the_rules_of_a_parameter_are_told() -> None:
    operation = DOCUMENT["paths"]["/api/v1/recommendations/users/{user_id}/recommendations"]["get"]
    rules = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert rules["limit"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert (rules["min_age"]["minimum"], rules["min_age"]["maximum"], "default" in rules["min_age"]) == (18, 120, False)
    assert (rules["exclude_ids"]["type"], rules["exclude_ids"]["maxItems"]) == ("array", 500)
    assert rules["max_km"]["exclusiveMinimum"] == 0


async def test_the_document_is_served_as_json_in_both_places(client: httpx.AsyncClient) -> None:
    answers = [await client.get(path) for path in ("/schema", "/schema/openapi.json")]
    assert [answer.json()["openapi"] for answer in answers] == ["3.1.0", "3.1.0"]
    assert answers[0].headers["content-type"].startswith("application/json")


async def test_real_answers_have_just_the_fields_that_the_document_gives_them(client: httpx.AsyncClient) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for path, name in (
        ("/api/v1/recommendations/users/1/recommendations?explain=true", "Slate"),
        ("/api/v1/recommendations/users/1/why/2", "WhyReply"),
        ("/api/v1/recommendations/users/1/similar", "SimilarPeople"),
        ("/api/v1/recommendations/performance", "PerformanceReport"),
        ("/api/v1/users/1", "Person"),
        ("/api/v1/users/1/matches", "MatchesReply"),
        ("/api/v1/algorithms", "AlgorithmsReply"),
        ("/health/ready", "Ready"),
        ("/nowhere", "ErrorReply"),
    ):
        assert list((await client.get(path)).json()) == list(schemas[name]["properties"]), name


async def test_what_is_told_only_when_asked_for_is_not_required_by_the_document(client: httpx.AsyncClient) -> None:
    schemas, path = DOCUMENT["components"]["schemas"], "/api/v1/recommendations/users/1/recommendations"
    plain, explained = [(await client.get(f"{path}{query}")).json() for query in ("", "?explain=true")]
    assert list(plain) == schemas["Slate"]["required"]
    assert list(plain["recommendations"][0]) == schemas["RecommendedPerson"]["required"]
    assert list(explained["recommendations"][0]) == list(schemas["RecommendedPerson"]["properties"])


async def test_a_ranking_has_just_the_fields_that_the_document_gives_it(client: httpx.AsyncClient) -> None:
    body = (await client.post("/api/v1/recommendations/users/1/rank", json={"candidate_ids": [1, 2]})).json()
    schemas = DOCUMENT["components"]["schemas"]
    assert list(body) == list(schemas["RankedCandidates"]["properties"])
    assert set(body["ineligible"][0]) == set(schemas["IneligibleCandidate"]["properties"])
