"""Who gets through to whom, by the network policies as Kubernetes reads them: what is needed passes, and nothing else does."""

from typing import NamedTuple

import pytest

from tests.manifests import Manifest, of_kind, pod_templates


class End(NamedTuple):
    """One end of a connection: a pod of ours by the name of its workload, one of another namespace, or neither."""

    workload: str = ""
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()


BALANCER, PROMETHEUS = End(namespace="ingress-nginx"), End(namespace="monitoring")
NAMES, STRANGER, OUTSIDE = End(namespace="kube-system"), End(namespace="default"), End()
SERVER, TRAINING, MIGRATION = "amity", "amity-train", "amity-migrate"
POSTGRES, VALKEY = "amity-postgres", "amity-valkey"


def pods(overlay: str) -> dict[str, End]:
    """Of a deployment and its migration."""
    templates = [*pod_templates(overlay), *pod_templates(f"{overlay}/migrate")]
    return {name: End(name, overlay, tuple(found["metadata"]["labels"].items())) for name, found in templates}


def chosen(selector: Manifest | None, labels: dict[str, str]) -> bool:
    """As a label selector chooses; an empty one chooses everything."""
    spec = selector or {}
    wanted = [(each["key"], each["values"]) for each in spec.get("matchExpressions", []) if each["operator"] == "In"]
    assert len(wanted) == len(spec.get("matchExpressions", []))
    return spec.get("matchLabels", {}).items() <= labels.items() and all(labels.get(key) in values for key, values in wanted)


def is_peer(peer: Manifest, other: End, home: str) -> bool:
    """Whether a `from` or `to` means the other end; `home` is the policy's own namespace. No end of ours lies in an ipBlock."""
    if "namespaceSelector" in peer:
        there = bool(other.namespace) and chosen(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
        return there and chosen(peer.get("podSelector"), dict(other.labels))
    return "podSelector" in peer and other.namespace == home and chosen(peer["podSelector"], dict(other.labels))


def lets(overlay: str, way: str, own: End, other: End, port: int) -> bool:
    """Whether the policies let a pod of ours do this, `way` being Ingress or Egress."""
    key = {"Ingress": "from", "Egress": "to"}[way]
    ruling = [
        policy["spec"]
        for policy in of_kind(overlay, "NetworkPolicy")
        if chosen(policy["spec"]["podSelector"], dict(own.labels)) and way in policy["spec"]["policyTypes"]
    ]
    rules = [rule for spec in ruling for rule in spec.get(way.lower(), [])]
    return not ruling or any(
        any(allowed["port"] == port for allowed in rule["ports"])
        and (key not in rule or any(is_peer(peer, other, overlay) for peer in rule[key]))
        for rule in rules
    )


def passes(overlay: str, source: str | End, target: str | End, port: int) -> bool:
    known = pods(overlay)
    start = known[source] if isinstance(source, str) else source
    end = known[target] if isinstance(target, str) else target
    leaves = not start.workload or lets(overlay, "Egress", start, end, port)
    return leaves and (not end.workload or lets(overlay, "Ingress", end, start, port))


@pytest.mark.parametrize("port", [5432, 6379, 4318, 443])
@pytest.mark.parametrize("overlay", ["staging", "production"])
@pytest.mark.parametrize("workload", [SERVER, TRAINING, MIGRATION])
def test_all_of_ours_get_names_and_what_is_outside(overlay: str, workload: str, port: int) -> None:
    assert passes(overlay, workload, NAMES, 53)
    assert passes(overlay, workload, OUTSIDE, port)
    assert not passes(overlay, workload, OUTSIDE, 80)  # where clouds hand out their machines' credentials
    assert not passes(overlay, workload, STRANGER, 53)


@pytest.mark.parametrize("workload", [SERVER, TRAINING, MIGRATION])
def test_all_of_ours_get_to_the_servers_of_staging(workload: str) -> None:
    assert passes("staging", workload, POSTGRES, 5432)
    assert passes("staging", workload, VALKEY, 6379)


@pytest.mark.parametrize(("caller", "gets_in"), [(BALANCER, True), (PROMETHEUS, True), (STRANGER, False), (OUTSIDE, False)])
def test_production_is_called_by_its_balancer_and_prometheus_alone(caller: End, gets_in: bool) -> None:
    assert passes("production", caller, SERVER, 8000) is gets_in
    assert not passes("production", caller, SERVER, 22)
    assert not passes("production", caller, TRAINING, 8000)


def test_staging_is_called_by_anybody_and_its_servers_by_nobody_else() -> None:
    assert passes("staging", OUTSIDE, SERVER, 8000)
    assert not passes("staging", STRANGER, POSTGRES, 5432)
    assert not passes("staging", STRANGER, VALKEY, 6379)
    assert not passes("staging", VALKEY, POSTGRES, 5432)
    assert not passes("staging", POSTGRES, OUTSIDE, 443)
