"""The OpenAPI document, made from the specs that the handlers themselves decode and answer by."""

import re
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from service.controllers.failures import ErrorReply
from service.controllers.routes import RouteSpec, spec_of

_JSON = "application/json"
_REF = "#/components/schemas/{name}"
_ERRORS = {
    400: "The body is not JSON",
    401: "An API key is missing or unknown",
    403: "The API key lacks the scope, or the service has no keys and was called by a name that is not of its machine",
    404: "There is nobody, or nothing, of that id or name",
    405: "The route does not take this method; `Allow` names those it takes",
    408: "The body did not come whole within 30 s",
    409: "What is asked for conflicts with how things stand; `detail` says with what",
    413: "The body is larger than 1 MiB",
    415: "The body is not application/json",
    422: "Values that break a rule, unknown parameters and unknown fields; `detail` names each",
    500: "A defect of the service",
    503: "Cannot be done now; `Retry-After` says when to ask again",
}
_DESCRIPTION = """Who should I meet, hire, follow, be mentored by: people who are likely to like the viewer *back*.

Text may hold any Unicode but NUL; `"\\ud800"`, half of a surrogate pair, is JSON but no Unicode, and a 422. Ids are 1 to
2^63-1. Times are RFC 3339 with their offset. Bodies are JSON of at most 1 MiB and 32 levels. Unknown query parameters and body
fields are refused by name. HEAD is answered wherever GET is, and nothing is recorded as shown. A sane `X-Request-ID` (1 to 64
letters, digits, `.`, `_`, `-`) is kept, and a W3C `traceparent` that is sampled is traced."""
_HEADERS = {
    "X-Request-ID": {"description": "The caller's, when it was a sane token, else ours", "schema": {"type": "string"}},
    "X-Process-Time": {"description": "Seconds", "schema": {"type": "string"}},
    "Server-Timing": {"description": "The stages, each with its milliseconds", "schema": {"type": "string"}},
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
_ALLOW = {"Allow": {"description": "The methods of this route", "schema": {"type": "string"}}}


def openapi(app: Litestar, version: str) -> dict[str, Any]:
    """The document for all routes of `app` that have a spec."""
    described = [(route, handler, spec) for route, handler in _handlers(app) if (spec := spec_of(handler.opt)) is not None]
    schemas, components = _components([spec for _, _, spec in described])
    paths: dict[str, dict[str, Any]] = {}
    named: set[str] = set()
    for route, handler, spec in described:
        for method in sorted(handler.http_methods):
            name = _operation_name(route, handler, named)
            operation = {"operationId": name, **_operation(route, spec, schemas, components)}
            paths.setdefault(route.path_format, {})[method.lower()] = operation
    shown = {name: schema for name, schema in components.items() if not name.endswith("Query")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Amity", "version": version, "description": _DESCRIPTION, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": shown,
            "responses": {str(status): _error(status, text) for status, text in _ERRORS.items()},
            "headers": _HEADERS,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed where keys are set. Scopes: read, write, admin",
                }
            },
        },
    }


def _handlers(app: Litestar) -> list[tuple[HTTPRoute, HTTPRouteHandler]]:
    """In the order of their paths and methods: Litestar's own is that of sets, another in each process."""
    routes = sorted((route for route in app.routes if isinstance(route, HTTPRoute)), key=lambda route: route.path_format)
    return [(route, one) for route in routes for one in sorted(route.route_handlers, key=lambda one: sorted(one.http_methods))]


def _operation_name(route: HTTPRoute, handler: HTTPRouteHandler, named: set[str]) -> str:
    """The handler's name; with the end of the path where a handler answers at a second one. `named` learns it."""
    name = handler.handler_name
    if name in named:
        name += "_" + re.sub(r"\W", "_", route.path_format.rpartition("/")[2])
    named.add(name)
    return name


def _tag(path: str) -> str:
    """What a route is about: the word after the version, or `operations`. Clients are generated with a module for each."""
    found = re.match(r"/api/v1/(\w+)", path)
    return found.group(1) if found else "operations"


def _components(specs: list[RouteSpec]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type that any spec names, and the shared parts they refer to."""
    types = {kind for spec in specs for kind in (spec.query, spec.body, *spec.replies.values()) if _is_struct(kind)}
    types.add(ErrorReply)
    ordered = sorted(types, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    return dict(zip(ordered, schemas, strict=True)), _without_false(components)


def _without_false(node: Any) -> Any:
    """Without `"items": false`, which says again what `maxItems` says of a tuple, and which generators of clients trip over."""
    if isinstance(node, list):
        return [_without_false(one) for one in node]
    if isinstance(node, dict):
        return {key: _without_false(value) for key, value in node.items() if not (key == "items" and value is False)}
    return node


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _operation(route: HTTPRoute, spec: RouteSpec, schemas: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    responses = {str(status): _success(kind, schemas) for status, kind in spec.replies.items()}
    for status in _error_statuses(route, spec):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    operation: dict[str, Any] = {
        "tags": [_tag(route.path_format)],
        "summary": spec.summary,
        "parameters": _path_parameters(route) + _query_parameters(spec, components),
        "responses": dict(sorted(responses.items())),
        "security": [{"key": [spec.scope]}] if spec.scope else [],
    }
    if spec.scope:
        operation["description"] = f"{spec.description} Scope: `{spec.scope}`.".strip()
    if spec.body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schemas[spec.body]}}}
    return operation


def _error_statuses(route: HTTPRoute, spec: RouteSpec) -> set[int]:
    statuses = {405, 422, 500, *spec.errors}
    if spec.scope:
        statuses |= {401, 403}
    if spec.body is not None:
        statuses |= {400, 408, 413, 415}
    return statuses


def _success(kind: Any, schemas: dict[Any, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done", "headers": _header_refs()}
    if kind is str:
        response["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif kind is not None:
        response["content"] = {_JSON: {"schema": schemas[kind] if _is_struct(kind) else {"type": "object"}}}
    return response


def _error(status: int, description: str) -> dict[str, Any]:
    own = {503: _RETRY_AFTER, 405: _ALLOW}.get(status, {})
    return {
        "description": f"{HTTPStatus(status).phrase}. {description}",
        "headers": {**_header_refs(), **own},
        "content": {_JSON: {"schema": {"$ref": _REF.format(name=ErrorReply.__name__)}}},
    }


def _header_refs() -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}


def _path_parameters(route: HTTPRoute) -> list[dict[str, Any]]:
    number = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    kinds = {"name": {"type": "string", "minLength": 1}}
    return [{"name": name, "in": "path", "required": True, "schema": kinds.get(name, number)} for name in route.path_parameters]


def _query_parameters(spec: RouteSpec, components: dict[str, Any]) -> list[dict[str, Any]]:
    if spec.query is None:
        return []
    properties: dict[str, Any] = components[spec.query.__name__]["properties"]
    return [_query_parameter(name, schema) for name, schema in properties.items()]


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is never null, so that part of the type goes, and so does its default."""
    shown = {key: value for key, value in schema.items() if key != "anyOf"}
    for choice in schema.get("anyOf", ()):
        shown |= choice if choice != {"type": "null"} else {}
    if shown.get("default", ...) is None or shown.get("default") == []:
        del shown["default"]
    parameter = {"name": name, "in": "query", "required": False, "schema": shown}
    if description := shown.pop("description", None):
        parameter["description"] = description
    if shown.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter
