"""Every manifest is what Kubernetes takes, from the oldest version that we say it runs on to the newest that is known."""

import kubernetes_validate
import pytest
import yaml

from tests.manifests import K8S, OVERLAYS, Manifest, files, kubectl, named, pod_templates, rendered

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""preStop's `sleep` is on by default since 1.30."""
OPERATOR = "monitoring.coreos.com/v1"


def of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_are_valid(overlay: str, version: str) -> None:
    for manifest in rendered(overlay):
        if manifest["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_is_found_out() -> None:
    deployment = named("production", "Deployment", "amity")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_has_the_name_of_another_and_all_have_a_namespace(overlay: str) -> None:
    names = [of(manifest) for manifest in rendered(overlay)]
    assert len(set(names)) == len(names)
    namespaces = {manifest["metadata"].get("namespace") for manifest in rendered(overlay) if manifest["kind"] != "Namespace"}
    assert namespaces == {"amity" if overlay.startswith("production") else "amity-staging"}


def test_service_monitor_finds_the_service_and_its_port() -> None:
    monitor = named("production", "ServiceMonitor", "amity")["spec"]
    service = named("production", "Service", "amity")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "amity"
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [port["name"] for port in service["spec"]["ports"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_selects_pods_selects_some(overlay: str) -> None:
    labels = [template["metadata"]["labels"] for _, template in pod_templates(overlay)]
    for manifest in rendered(overlay):
        spec = manifest.get("spec", {})
        chosen = {"Service": spec.get("selector"), "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels")}
        wanted = chosen.get(manifest["kind"]) or spec.get("selector", {}).get("matchLabels")
        if wanted and manifest["apiVersion"] != OPERATOR:
            assert any(wanted.items() <= found.items() for found in labels), of(manifest)


def test_no_manifest_lies_about_unused() -> None:
    kubectl()
    listed = {path.name for path in files("kustomization.yaml")} | {"README.md", "adapter.yaml"}
    for path in files("kustomization.yaml"):
        made = yaml.safe_load(path.read_text())
        generated = [*made.get("configMapGenerator", []), *made.get("secretGenerator", [])]
        listed |= {*made["resources"]} if "resources" in made else set()
        listed |= {patch["path"] for patch in made.get("patches", [])}
        listed |= {name.rpartition("=")[2] for each in generated for name in [*each.get("envs", []), *each.get("files", [])]}
    assert {path.name for path in K8S.rglob("*") if path.is_file()} <= listed
