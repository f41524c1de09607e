"""NetworkPolicies as text. Whether they are enforced is up to the cluster's network, and is not tested here."""

import pytest

from sluice_operator.kube.client import Object
from support.chart import CASES, find, render

pytestmark = pytest.mark.needs("helm")

DNS = {(53, "UDP"), (53, "TCP")}
ON = ("--set", "networkPolicy.enabled=true")


def policy(part: str, *arguments: str) -> Object:
    spec: Object = find(render(*(arguments or ON)), "NetworkPolicy", f"sluice-{part}")["spec"]
    return spec


def ports(rules: list[Object]) -> set[tuple[int, str]]:
    return {(port["port"], port["protocol"]) for rule in rules for port in rule["ports"]}


def peers(rules: list[Object], port: int, side: str) -> list[Object] | None:
    """Who is meant; None: everybody."""
    (rule,) = [one for one in rules if any(each["port"] == port for each in one["ports"])]
    found: list[Object] | None = rule.get(side)
    return found


def test_there_are_none_by_default() -> None:
    assert [one for one in render() if one["kind"] == "NetworkPolicy"] == []


@pytest.mark.parametrize("part", ["ingest", "worker", "operator"])
def test_each_part_has_one_that_selects_its_pods_in_both_directions(part: str) -> None:
    spec = policy(part)
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "sluice",
        "app.kubernetes.io/instance": "sluice",
        "app.kubernetes.io/component": part,
    }


@pytest.mark.parametrize(
    ("part", "reaches"),
    [
        ("ingest", {4222}),
        ("worker", {4222, 27017}),
        ("operator", {4222, 27017, 443, 6443}),
    ],
)
def test_a_part_reaches_what_it_needs_and_nothing_else(part: str, reaches: set[int]) -> None:
    assert ports(policy(part)["egress"]) == DNS | {(port, "TCP") for port in reaches}


def test_nobody_of_ours_reaches_the_brokers_monitoring() -> None:
    for part in ("ingest", "worker", "operator"):
        assert (8222, "TCP") not in ports(policy(part)["egress"])


def test_only_ingest_is_reached_unless_metrics_are_read() -> None:
    assert ports(policy("ingest")["ingress"]) == {(8080, "TCP")}
    assert policy("worker")["ingress"] == []
    assert policy("operator")["ingress"] == []


def test_where_peers_are_named_only_they_are_meant() -> None:
    case = CASES["prod"]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    broker = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "nats"}}}]
    database = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mongodb"}}}]
    posting = peers(policy("ingest", *case)["ingress"], 8080, "from")
    assert posting is not None
    assert [one for one in posting if "namespaceSelector" in one] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}},
        monitoring,
    ]
    # Besides them, `helm test`.
    assert len(posting) == 3
    for part in ("worker", "operator"):
        spec = policy(part, *case)
        assert peers(spec["ingress"], 9090, "from") == [monitoring]
        assert peers(spec["egress"], 4222, "to") == broker
        assert peers(spec["egress"], 27017, "to") == database
    assert peers(policy("ingest", *case)["egress"], 4222, "to") == broker
