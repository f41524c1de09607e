"""Alerts and dashboard ask for metrics, labels and reasons that the code has."""

import importlib
import json
import re
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from sluice_core import reasons
from support.chart import CASES, CHART, find, render
from support.cluster import REPO

ALERTS: list[dict[str, Any]] = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
DASHBOARD = json.loads((CHART / "files/dashboards/sluice.json").read_text())
TARGET_LABELS = {"pod", "le"}
"""Of Prometheus."""


def metrics() -> dict[str, set[str]]:
    """Names as they are exposed, and their labels."""
    found: dict[str, set[str]] = {}
    for room in ("ingest", "worker", "operator"):
        module = importlib.import_module(f"sluice_{room}.metrics")
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                described = next(iter(metric.describe()))
                suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
                    described.type, ("",)
                )
                for suffix in suffixes:
                    found[described.name + suffix] = set(metric._labelnames)
    return found


METRICS = metrics()
EXPRESSIONS = [(alert["alert"], alert["expr"]) for alert in ALERTS] + [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_what_is_asked_for_exists(where: str, expression: str) -> None:
    named = set(re.findall(r"\bsluice_\w+", expression))
    assert named, where
    assert named <= METRICS.keys()
    labels = {label for name in named for label in METRICS[name]} | TARGET_LABELS
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    matched = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    assert grouped | matched <= labels


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_speaks_of_labels_that_it_has(alert: dict[str, Any]) -> None:
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", alert["expr"]) for label in group.split(",")}
    for text in alert["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= grouped
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_reason_that_an_alert_names_is_one() -> None:
    named = {
        code
        for _, expression in EXPRESSIONS
        for group in re.findall(r"(?:outcome|reason)=~?\"([^\"$]+)\"", expression)
        for code in group.split("|")
    }
    assert named <= reasons.ALL.keys()


def test_every_answer_that_means_we_cannot_take_it_raises_the_alarm() -> None:
    (expression,) = [alert["expr"] for alert in ALERTS if alert["alert"] == "SluiceIngestRefusing"]
    assert {code for code, reason in reasons.ALL.items() if reason.status == 503} == set(
        re.findall(r'outcome=~"([^"]+)"', expression)[0].split("|")
    )


def test_every_reason_of_a_dead_letter_raises_the_alarm() -> None:
    table = (REPO / "docs/operating.md").read_text()
    (row,) = re.findall(r"^\| reasons \|.*\|(.*)\|$", table, re.MULTILINE)
    (expression,) = [alert["expr"] for alert in ALERTS if alert["alert"] == "SluiceDeadLetters"]
    for group in re.findall(r'reason=~"([^"]+)"', expression):
        assert set(group.split("|")) == set(re.findall(r"`(\w+)`", row))


def test_the_runbook_says_of_every_alert_what_to_do_and_of_no_other() -> None:
    runbook = (REPO / "docs/runbook.md").read_text()
    assert re.findall(r"^### (Sluice\w+)$", runbook, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


@pytest.mark.needs("helm")
def test_each_is_rendered_behind_its_value_and_with_the_labels_asked_for() -> None:
    kinds = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert [one for one in render() if one["kind"] in kinds] == []
    objects = render(
        *CASES["prod"],
        *("--set", "metrics.rules.labels.release=prom,metrics.rules.alertLabels.team=platform"),
        *("--set", "metrics.rules.runbookUrl=https://runbooks.test/#"),
    )
    rule = find(objects, "PrometheusRule", "sluice")
    assert rule["metadata"]["labels"]["release"] == "prom"
    rules = rule["spec"]["groups"][0]["rules"]
    assert [one["expr"] for one in rules] == [alert["expr"] for alert in ALERTS]
    assert {one["labels"]["team"] for one in rules} == {"platform"}
    assert rules[0]["annotations"]["runbook_url"] == "https://runbooks.test/#sluiceingestgone"
    assert rules[1]["annotations"]["description"] == ALERTS[1]["annotations"]["description"]
    assert {one["metadata"]["name"] for one in objects if one["kind"] == "PodMonitor"} == {
        "sluice-worker",
        "sluice-operator",
    }
    dashboard = find(objects, "ConfigMap", "sluice-dashboard")
    assert json.loads(dashboard["data"]["sluice.json"]) == DASHBOARD
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.needs("helm")
def test_monitors_select_ports_that_pods_have() -> None:
    objects = render(*CASES["prod"])
    service = find(objects, "Service", "sluice-ingest")["spec"]["ports"]
    monitor = find(objects, "ServiceMonitor", "sluice-ingest")["spec"]
    assert {one["port"] for one in monitor["endpoints"]} <= {one["name"] for one in service}
    operator = find(objects, "Deployment", "sluice-operator")["spec"]["template"]
    pod_monitor = find(objects, "PodMonitor", "sluice-operator")["spec"]
    assert pod_monitor["selector"]["matchLabels"].items() <= operator["metadata"]["labels"].items()
    assert {one["port"] for one in pod_monitor["podMetricsEndpoints"]} <= {
        one["name"] for one in operator["spec"]["containers"][0]["ports"]
    }
