"""What the manifests say of the service is what its code says: ports, paths, settings, times, metrics, commands, names."""

import base64
import json
import re
import tomllib
from urllib.parse import urlsplit

import pytest
import yaml
from typer.main import get_command

from service.app import create_app
from service.app_parts import FLUSH_S
from service.cli.commands import app as cli
from service.cli.main import PARALLEL_COMMANDS
from service.controllers.keys import parse_keys, require_safe_bind
from service.metrics import REGISTRY
from service.repositories.connections import dsn
from service.settings import Settings, load
from service.tracing import EXPORT_TIMEOUT_S
from tests.embedded import ROOT
from tests.manifests import K8S, OVERLAYS, Manifest, config, named, of_kind, ours, pod_templates, rendered, source

SERVING = ("staging", "production")
SECRETS = ["AMITY_API_KEYS", "AMITY_DATABASE_URL", "AMITY_REDIS_URL"]
MAX_CONNECTIONS = 100 - 3
"""PostgreSQL's own default, without those that it keeps for superusers."""
ENDING = 2
"""Replicas of a rollout that still hold their connections while the next one starts: a Deployment does not count them. One ends
in 10 s of preStop and some more; the next is ready in no less than 5."""
ELSE = 4
"""Connections of training, of a migration, and of somebody who looks."""


def secrets() -> dict[str, str]:
    """Staging's. Production's are the cluster's own."""
    data = named("staging", "Secret", "amity")["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def settings(overlay: str) -> Settings:
    """As a container reads them: an unknown name or a bad value raises."""
    return load(config(overlay) | secrets())


def pod(overlay: str) -> Manifest:
    template: Manifest = named(overlay, "Deployment", "amity")["spec"]["template"]["spec"]
    return template


def container(overlay: str) -> Manifest:
    (only,) = pod(overlay)["containers"]
    found: Manifest = only
    return found


def environment(spec: Manifest) -> set[str]:
    """Kinds and names of what a container's variables come from, but for the digest in a ConfigMap's name."""
    refs = [ref for each in spec["containers"] for ref in each.get("envFrom", [])]
    return {f"{kind}/{ref[kind]['name'].partition('-')[0]}" for ref in refs for kind in ref}


@pytest.mark.parametrize("overlay", SERVING)
def test_a_container_can_read_its_settings_and_may_serve_with_them(overlay: str) -> None:
    read = settings(overlay)
    require_safe_bind(read)
    assert sorted(secrets()) == SECRETS
    assert not parse_keys(read.api_keys).is_open
    assert dsn(read.database_url)
    assert environment(pod(overlay)) == {"configMapRef/amity", "secretRef/amity"}


def test_staging_key_is_the_one_that_its_comment_tells() -> None:
    assert parse_keys(secrets()["AMITY_API_KEYS"]).require("Bearer amity-staging", "admin") == "staging"


def test_production_brings_no_secret() -> None:
    assert of_kind("production", "Secret") == of_kind("production/migrate", "Secret") == []
    assert not set(SECRETS) & set(config("production"))


@pytest.mark.parametrize("overlay", SERVING)
def test_port_is_the_one_that_is_listened_on_from_container_to_service(overlay: str) -> None:
    (port,) = container(overlay)["ports"]
    assert port["containerPort"] == settings(overlay).port
    (published,) = named(overlay, "Service", "amity")["spec"]["ports"]
    assert (published["targetPort"], published["port"]) == (port["name"], settings(overlay).port)
    (rule,) = named(overlay, "NetworkPolicy", "amity-serves")["spec"]["ingress"]
    assert [allowed["port"] for allowed in rule["ports"]] == [settings(overlay).port]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_routes_that_there_are(probe: str) -> None:
    asked = container("production")[probe]["httpGet"]
    routes = {route.path for route in create_app(Settings()).routes}
    assert asked["path"] in routes
    assert asked["port"] == "http"
    assert source("monitoring/service-monitor.yaml")["spec"]["endpoints"][0]["path"] in routes


def test_a_replica_has_the_time_to_read_ten_million_people_from_the_database() -> None:
    told = re.search(r"(\d+) µs of CPU a person", (ROOT / "docs" / "sizing.md").read_text())
    assert told is not None
    probe, spec = container("production")["startupProbe"], named("production", "Deployment", "amity")["spec"]
    has_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert has_s >= 2 * int(told[1]) / 1e6 * 10_000_000  # PostgreSQL takes its time as well
    assert spec["progressDeadlineSeconds"] > has_s


@pytest.mark.parametrize("overlay", SERVING)
def test_a_replica_has_the_time_to_drain(overlay: str) -> None:
    pause_s = container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    last_s = 2 * FLUSH_S + EXPORT_TIMEOUT_S  # impressions, then what was left behind, then spans
    assert pod(overlay)["terminationGracePeriodSeconds"] >= pause_s + settings(overlay).drain_s + last_s
    # Balancers ask this often whether a pod is ready; kube-proxy hears of its end sooner.
    assert pause_s >= container(overlay)["readinessProbe"]["periodSeconds"]


def test_autoscaler_asks_for_a_metric_of_ours_at_half_of_what_a_replica_takes() -> None:
    (pods,) = [
        each["pods"] for each in named("production", "HorizontalPodAutoscaler", "amity")["spec"]["metrics"] if "pods" in each
    ]
    name = pods["metric"]["name"]
    assert name in {metric.name for metric in REGISTRY.collect()}
    assert int(pods["target"]["averageValue"]) * 2 == settings("production").max_in_flight
    (rule,) = source("monitoring/adapter.yaml")["rules"]["custom"]
    assert rule["seriesQuery"].startswith(name + "{")
    assert rule["name"]["as"] == name


def test_all_replicas_together_leave_room_in_postgresql() -> None:
    most = named("production", "HorizontalPodAutoscaler", "amity")["spec"]["maxReplicas"]
    surge = named("production", "Deployment", "amity")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    assert (most + surge + ENDING) * settings("production").database_pool_size + ELSE <= MAX_CONNECTIONS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_runs_our_image_runs_a_command_of_ours(overlay: str) -> None:
    commands = get_command(cli).commands  # type: ignore[attr-defined]
    for _, spec in ours(overlay):
        for each in spec["containers"]:
            name, *options = each["args"]
            commands[name].make_context(name, options)  # raises what the command would refuse them with
            assert "command" not in each  # the image's entry point is `amity`


def test_training_would_rather_not_be_where_people_are_answered() -> None:
    (term,) = dict(ours("production"))["amity-train"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == named("production", "Deployment", "amity")["spec"]["selector"]


def test_training_takes_as_many_threads_as_cores_were_asked_for() -> None:
    (trains,) = dict(ours("production"))["amity-train"]["containers"]
    assert trains["args"][0] in PARALLEL_COMMANDS
    assert {each["value"] for each in trains["env"]} == {trains["resources"]["requests"]["cpu"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_of_this_version(overlay: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {each["image"] for _, spec in ours(overlay) for each in spec["containers"]}
    (image,) = images
    assert image.rpartition("/")[2] == f"amity:{version}"


def test_pods_run_as_the_user_of_the_image_and_write_where_it_does() -> None:
    image = (ROOT / "Dockerfile").read_text()
    user = source("base/deployment.yaml")["spec"]["template"]["spec"]["securityContext"]
    assert f"\nUSER {user['runAsUser']}:{user['runAsGroup']}\n" in image
    assert f"AMITY_HOME={config('production')['AMITY_HOME']} " in image
    assert "requirements-s3.lock" in image  # production keeps its bundles in S3


def test_servers_of_staging_are_those_of_the_containers_recipe() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    recipe = {service["image"] for service in compose.values() if "image" in service}
    servers = {
        each["image"]
        for name, template in pod_templates("staging")
        if name in ("amity-postgres", "amity-valkey")
        for each in template["spec"]["containers"]
    }
    assert servers <= recipe


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_may_more_than_it_needs(overlay: str) -> None:
    for name, template in pod_templates(overlay):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
        for each in spec["containers"]:
            limits = each["securityContext"]
            assert limits["readOnlyRootFilesystem"], name
            assert limits["capabilities"] == {"drop": ["ALL"]}
            assert limits["allowPrivilegeEscalation"] is False
            assert {"cpu", "memory"} <= set(each["resources"]["requests"])
            assert "memory" in each["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_written_can_be_written(overlay: str) -> None:
    for name, spec in ours(overlay):
        for each in spec["containers"]:
            mounts = {mount["mountPath"] for mount in each["volumeMounts"] if not mount.get("readOnly")}
            fixed = {variable["name"]: variable["value"] for variable in each.get("env", [])}
            home = fixed.get("AMITY_HOME") or config(overlay)["AMITY_HOME"]
            assert {home, "/tmp"} <= mounts, name  # the root is read-only


def bytes_of(quantity: str) -> float:
    """`8Gi` and `64Mi`."""
    return float(quantity[:-2]) * {"Mi": 2.0**20, "Gi": 2.0**30}[quantity[-2:]]


@pytest.mark.parametrize("workload", ["amity", "amity-train"])
def test_disks_of_production_hold_three_bundles_of_a_million_people_and_are_asked_for(workload: str) -> None:
    told = re.search(r"a bundle is ([\d.]+) kB a person", (ROOT / "docs" / "sizing.md").read_text())
    assert told is not None
    three = 3 * float(told[1]) * 1000 * 1_000_000
    spec = dict(ours("production"))[workload]
    (home,) = [volume["emptyDir"]["sizeLimit"] for volume in spec["volumes"] if volume["name"] == "home"]
    asked = spec["containers"][0]["resources"]["requests"]["ephemeral-storage"]
    assert three <= bytes_of(asked) <= bytes_of(home)


def test_bundles_of_staging_lie_where_training_writes_and_replicas_read() -> None:
    folder = config("staging")["AMITY_ARTIFACTS"]
    mounted = {
        name: [m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == folder] for name, spec in ours("staging")
    }
    assert [mount.get("readOnly", False) for mount in mounted["amity"]] == [True]
    assert [mount.get("readOnly", False) for mount in mounted["amity-train"]] == [False]


def test_bundles_of_production_want_the_driver_that_the_extra_brings() -> None:
    scheme = urlsplit(config("production")["AMITY_ARTIFACTS"]).scheme
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [requirement.partition(">")[0] for requirement in extras[scheme]] == ["s3fs"]
    assert "\ns3fs==" in (ROOT / "requirements-s3.lock").read_text()


@pytest.mark.parametrize("overlay", SERVING)
def test_whom_a_replica_asks_the_network_policies_let_it_ask(overlay: str) -> None:
    read = settings(overlay)
    urls = [read.database_url, read.redis_url, read.otlp_endpoint]
    wanted = {port for url in urls if url and (port := urlsplit(url).port)}
    if "://" in read.artifacts:
        wanted.add(443)
    (rule,) = named(overlay, "NetworkPolicy", "amity-uses")["spec"]["egress"]
    assert wanted <= {port["port"] for port in rule["ports"]}
    labels = named(overlay, "Deployment", "amity")["spec"]["template"]["metadata"]["labels"]
    closed = named(overlay, "NetworkPolicy", "amity-nothing-else")["spec"]
    assert closed["podSelector"]["matchLabels"].items() <= labels.items()
    assert "ingress" not in closed
    assert "egress" not in closed


def test_staging_reaches_its_servers_by_their_names() -> None:
    services = {service["metadata"]["name"]: service["spec"]["ports"][0]["port"] for service in of_kind("staging", "Service")}
    for name in ("AMITY_DATABASE_URL", "AMITY_REDIS_URL"):
        url = urlsplit(secrets()[name])
        assert url.hostname is not None
        assert services[url.hostname] == url.port


def test_postgresql_of_staging_is_well_and_has_shared_memory_as_in_the_containers_recipe() -> None:
    recipe = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["postgres"]
    spec = named("staging", "StatefulSet", "amity-postgres")["spec"]["template"]["spec"]
    (server,) = spec["containers"]
    assert ["CMD", *server["readinessProbe"]["exec"]["command"]] == recipe["healthcheck"]["test"]
    (memory,) = [volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == "shm"]
    assert memory == {"medium": "Memory", "sizeLimit": recipe["shm_size"].replace("mb", "Mi")}
    assert {"name": "shm", "mountPath": "/dev/shm"} in server["volumeMounts"]


@pytest.mark.parametrize("overlay", SERVING)
def test_only_one_process_is_in_a_pod_and_one_training_at_work(overlay: str) -> None:
    assert len(pod(overlay)["containers"]) == 1
    assert "initContainers" not in pod(overlay)
    assert named(overlay, "CronJob", "amity-train")["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_migration_is_no_part_of_a_rollout() -> None:
    for overlay in SERVING:
        assert of_kind(overlay, "Job") == []
        (job,) = of_kind(f"{overlay}/migrate", "Job")
        assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "migrate"
        assert of_kind(f"{overlay}/migrate", "Deployment") == [
            each for each in of_kind(overlay, "Deployment") if each["metadata"]["name"] == "amity-valkey"
        ]


def test_dashboards_are_those_of_the_folder_and_small_enough_to_be_applied() -> None:
    made = [found for found in of_kind("production", "ConfigMap") if found["metadata"].get("labels", {}).get("grafana_dashboard")]
    assert {name for each in made for name in each["data"]} == {path.name for path in (K8S / "dashboards").glob("*.json")}
    # kubectl keeps the whole of it in an annotation, and all annotations together may have 262,144 bytes.
    assert all(len(json.dumps(each)) < 262_144 - 4096 for each in made)


def test_every_setting_named_in_comments_is_one() -> None:
    known = {f"AMITY_{name.upper()}" for name in Settings.__struct_fields__}
    for path in K8S.rglob("*"):
        if path.is_file():
            assert set(re.findall(r"AMITY_[A-Z_]+", path.read_text())) <= known, path


def test_rendered_manifests_name_no_image_without_a_tag() -> None:
    for overlay in OVERLAYS:
        for _, template in pod_templates(overlay):
            assert all(":" in each["image"].rpartition("/")[2] for each in template["spec"]["containers"])
    assert rendered("staging")
