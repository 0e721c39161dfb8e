"""docker-compose.yml and what it mounts: true to the Compose Specification, to one another and to the code."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import msgspec
import pytest
import yaml

from service.controllers.keys import parse_keys
from service.settings import Settings, load, variable
from tests.embedded import ROOT
from tests.image import instructions, settings_of_image
from tests.pages import Shell, blocks
from tests.programs import program
from tests.reader import reader_settings

DEPLOY = ROOT / "deploy"
FIGURES = {"POSTGRES_PASSWORD": "p", "AMITY_API_KEYS": f"ops:admin:{'0' * 64}", "GRAFANA_PASSWORD": "g"}
"""What `.env` has."""
ADDRESS = re.compile(r"\b([a-z][a-z0-9-]*):(\d+)\b")


def resolved(text: str) -> str:
    """With the values of `.env` in their places, or the default: as Compose has it, as far as our file uses it."""
    return re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: FIGURES.get(found[1], found[2]), text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(resolved((ROOT / "docker-compose.yml").read_text()))
    return parsed


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if service["image"].startswith("amity:")}


def mounts(services: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Service, what is mounted, and where."""
    pairs = [(name, volume.split(":")) for name, service in services.items() for volume in service.get("volumes", [])]
    return [(name, source, target) for name, (source, target, *_) in pairs]


def yaml_of(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def test_it_is_what_the_compose_specification_says(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests" / "vendored" / "compose-spec" / "compose-spec.json").read_text())
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in validator.iter_errors(compose)] == []
    assert "version" not in compose


def test_the_specification_finds_a_misspelt_key(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests" / "vendored" / "compose-spec" / "compose-spec.json").read_text())
    wrong = compose | {"services": {"x": {"image": "x", "enviroment": {}}}}
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(wrong))


def test_every_secret_comes_from_outside_or_is_asked_for() -> None:
    asked = re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text())
    assert set(asked) == set(FIGURES)
    page = (ROOT / "docs" / "deploying.md").read_text()
    assert [name for name in FIGURES if name not in page] == []


def test_the_page_makes_secrets_that_open_what_they_should(tmp_path: Path) -> None:
    with Shell(tmp_path, reader_settings(tmp_path), start=tmp_path) as shell:
        secrets = next(block for block in blocks(ROOT / "docs" / "deploying.md") if "> .env" in block.text)
        shown = dict(line.split(" ") for line in shell.types(secrets).splitlines())
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert made.keys() == FIGURES.keys()
    keys = parse_keys(made["AMITY_API_KEYS"])
    assert keys.require(f"Bearer {shown['operator']}", "admin") == "operator"
    assert keys.require(f"Bearer {shown['backend']}", "write") == "backend"
    assert is_ignored(".env")


def is_ignored(path: str) -> bool:
    return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0


def test_replicas_have_settings_that_there_are_and_can_be_reached(services: dict[str, dict[str, Any]]) -> None:
    known = {variable(name) for name in msgspec.structs.asdict(Settings())}
    for service in ours(services).values():
        assert set(service["environment"]) <= known
        settings = load(settings_of_image() | service["environment"])
        assert {urlsplit(settings.database_url).hostname, urlsplit(settings.redis_url).hostname} <= services.keys()
        assert settings.host == "0.0.0.0"


def test_two_replicas_wait_for_the_schema_and_one_image_is_made_for_all(services: dict[str, dict[str, Any]]) -> None:
    replicas = [name for name in services if re.fullmatch(r"amity-\d", name)]
    assert len(replicas) >= 2
    for name in replicas:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert "command" not in services[name], "the image's own: serve"
    assert [name for name, service in ours(services).items() if "build" in service] == ["migrate"]
    assert all(service["pull_policy"] == "never" for service in ours(services).values() if "build" not in service)


def test_they_are_as_little_trusted_as_in_the_cluster_and_get_their_time_to_end(services: dict[str, dict[str, Any]]) -> None:
    for service in ours(services).values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert int(service["stop_grace_period"].removesuffix("s")) > Settings().drain_s + 5
    written = {target for name, _, target in mounts(ours(services))}
    assert written == {settings_of_image()["AMITY_HOME"]}


def test_whoever_is_waited_for_says_when_it_is_well(services: dict[str, dict[str, Any]]) -> None:
    waits = [(name, other, how) for name, one in services.items() for other, how in _waits(one.get("depends_on", {}))]
    for name, other, how in waits:
        assert other in services, f"{name} waits for {other}"
        healthy = "healthcheck" in services[other] or "serve" in " ".join(instructions("CMD"))
        assert how != "service_healthy" or healthy
        assert how != "service_completed_successfully" or services[other]["restart"] == "no"


def _waits(depends_on: Any) -> list[tuple[str, str]]:
    if isinstance(depends_on, list):
        return [(name, "service_started") for name in depends_on]
    return [(name, how["condition"]) for name, how in depends_on.items()]


def test_what_is_mounted_is_there(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    for name, source, _ in mounts(services):
        assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"], f"{name}: {source}"


def test_images_are_pinned_to_the_versions_that_the_cluster_has(services: dict[str, dict[str, Any]]) -> None:
    images = {service["image"] for service in services.values()}
    assert [image for image in images if not re.search(r":v?\d", image)] == []
    staging = yaml.safe_load((ROOT / "k8s" / "overlays" / "staging" / "kustomization.yaml").read_text())
    theirs = {f"{image.get('newName', image['name'])}:{image['newTag']}" for image in staging["images"]}
    assert theirs <= images


def test_every_address_in_a_configuration_is_that_of_a_service(services: dict[str, dict[str, Any]]) -> None:
    said = [json.dumps(service.get("environment", {})) for service in services.values()]
    said.append((DEPLOY / "prometheus" / "targets.yml").read_text())
    named = {host for host, _ in ADDRESS.findall("\n".join(said))} - {"localhost", "admin"}
    assert named <= services.keys()


def test_prometheus_asks_every_replica_and_the_rest(services: dict[str, dict[str, Any]]) -> None:
    targets = {group["labels"]["job"]: group["targets"] for group in yaml_of("prometheus/targets.yml")}
    port = settings_of_image()["AMITY_PORT"]
    assert targets["amity"] == [f"{name}:{port}" for name in services if re.fullmatch(r"amity-\d", name)]
    balancer = services["balancer"]["environment"]
    assert [balancer[name] for name in sorted(balancer) if name.startswith("REPLICA_")] == targets["amity"]
    assert targets["haproxy"] == [f"balancer{balancer['OPERATIONS']}"]
    reader = yaml_of("otel-collector.yaml")["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    assert targets["otel-collector"] == [f"otel-collector:{reader['port']}"]


def test_the_collector_joins_parts_that_it_has_and_listens_where_replicas_send(services: dict[str, dict[str, Any]]) -> None:
    config = yaml_of("otel-collector.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind, parts in pipeline.items():
            assert set(parts) <= config[kind].keys()
    sent = urlsplit(services["amity-1"]["environment"]["AMITY_OTLP_ENDPOINT"])
    assert config["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == f"0.0.0.0:{sent.port}"
    variables = re.findall(r"\$\{env:(\w+)\}", (DEPLOY / "otel-collector.yaml").read_text())
    assert set(variables) == services["otel-collector"]["environment"].keys()


def test_grafana_gets_its_sources_and_the_dashboards_of_the_cluster(services: dict[str, dict[str, Any]]) -> None:
    grafana = services["grafana"]
    at = {target: ROOT / source for name, source, target in mounts(services) if name == "grafana"}
    assert at[grafana["environment"]["DASHBOARDS"]] == ROOT / "k8s" / "dashboards"
    assert at[grafana["environment"]["GF_PATHS_PROVISIONING"]] == DEPLOY / "grafana"
    told = "".join(path.read_text() for path in (DEPLOY / "grafana").rglob("*.yaml"))
    assert set(re.findall(r"\$\{(\w+)\}", told)) <= grafana["environment"].keys()
    sources = yaml_of("grafana/datasources/amity.yaml")["datasources"]
    (exemplars,) = sources[0]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplars["datasourceUid"] in {source["uid"] for source in sources}


def test_dashboards_ask_a_source_that_is_provisioned() -> None:
    known = {source["uid"] for source in yaml_of("grafana/datasources/amity.yaml")["datasources"]}
    for file in (ROOT / "k8s" / "dashboards").glob("*.json"):
        named = set(re.findall(r'"uid":\s*"([^"]+)"', json.dumps(datasources(json.loads(file.read_text())))))
        assert {uid for uid in named if not uid.startswith("$")} <= known | {"-- Grafana --", "grafana"}, file.name


def datasources(part: Any) -> list[Any]:
    """Every value of a key `datasource`."""
    if isinstance(part, list):
        return [found for one in part for found in datasources(one)]
    if isinstance(part, dict):
        return [found for key, value in part.items() for found in ([value] if key == "datasource" else datasources(value))]
    return []


@pytest.mark.parametrize("n_replicas", [1, 2, 6])
@pytest.mark.parametrize("resolver", [{}, {"RESOLVE": "127.0.0.11:53"}], ids=["addresses", "names"])
def test_haproxy_takes_its_configuration_without_a_warning(n_replicas: int, resolver: dict[str, str]) -> None:
    replicas = {f"REPLICA_{number}": f"127.0.0.1:{8000 + number}" for number in range(1, n_replicas + 1)}
    settings = {"PATH": os.environ["PATH"], "LISTEN": "127.0.0.1:18000", "OPERATIONS": ":18404", **replicas, **resolver}
    command = [program("haproxy", brought_by="Debian's package haproxy"), "-c", "-f", str(DEPLOY / "haproxy.cfg")]
    checked = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert (checked.returncode, "WARNING" in checked.stderr) == (0, False), checked.stderr


def test_prometheus_takes_its_configuration_and_rules() -> None:
    command = [program("promtool", brought_by="Debian's package prometheus"), "check", "config", "prometheus.yml"]
    checked = subprocess.run(command, cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
