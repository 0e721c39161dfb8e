"""The manifests of k8s/ as kubectl renders them."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.embedded import ROOT
from tests.programs import program

Manifest = dict[str, Any]
K8S = ROOT / "k8s"
OVERLAYS = ("staging", "staging/migrate", "production", "production/migrate")


def kubectl() -> str:
    """The program that renders the manifests."""
    return program("kubectl", brought_by="a release of Kubernetes")


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """All that `kubectl apply -k` of an overlay would send."""
    said = subprocess.run([kubectl(), "kustomize", str(K8S / "overlays" / overlay)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return tuple(yaml.safe_load_all(said.stdout))


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    return [manifest for manifest in rendered(overlay) if manifest["kind"] == kind]


def named(overlay: str, kind: str, name: str) -> Manifest:
    (found,) = [manifest for manifest in of_kind(overlay, kind) if manifest["metadata"]["name"] == name]
    return found


def config(overlay: str) -> dict[str, str]:
    """The settings of replicas that are no secrets."""
    (data,) = [found["data"] for found in of_kind(overlay, "ConfigMap") if "AMITY_HOST" in found["data"]]
    settings: dict[str, str] = data
    return settings


def pod_templates(overlay: str) -> list[tuple[str, Manifest]]:
    """Name and pod template of every workload."""
    found = []
    for manifest in rendered(overlay):
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            found.append((manifest["metadata"]["name"], spec["template"]))
    return found


def ours(overlay: str) -> list[tuple[str, Manifest]]:
    """Name and pod specification of what runs our image."""
    return [
        (name, template["spec"])
        for name, template in pod_templates(overlay)
        if template["metadata"]["labels"]["app.kubernetes.io/name"] == "amity"
    ]


def source(path: str) -> Any:
    """One file of k8s/ as it stands."""
    return yaml.safe_load((K8S / path).read_text())


def files(pattern: str) -> list[Path]:
    return sorted(K8S.rglob(pattern))
