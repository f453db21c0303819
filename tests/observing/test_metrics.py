"""Metrics, dashboard, alerts and their documentation name the same things; Prometheus reads what we wrote."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from domain.ledger.audit import PROMISES
from ops.runtime import metrics
from ops.services.process import free_port

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "ops" / "prometheus"
GRAFANA = ROOT / "ops" / "grafana"

DEFINED = {name: each for name, each in vars(metrics).items() if isinstance(each, MetricWrapperBase)}


def series_of(name: str, metric: MetricWrapperBase) -> set[str]:
    """The names under which a metric can be asked for."""
    full = f"reactivate_{name}"
    return {f"{full}_bucket", f"{full}_count", f"{full}_sum"} if isinstance(metric, Histogram) else {full}


SERIES = {series: name for name, metric in DEFINED.items() for series in series_of(name, metric)}


def named_in(text: str) -> set[str]:
    return set(re.findall(r"\breactivate_\w+", text))


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "fleet.json").read_text())
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def test_every_metric_is_called_as_its_variable() -> None:
    assert len(DEFINED) > 30
    for name, metric in DEFINED.items():
        suffix = "_total" if isinstance(metric, Counter) else ""
        assert f"reactivate_{name}" == metric._name + suffix
        assert isinstance(metric, Counter | Gauge | Histogram)
        assert name.endswith("_total") == isinstance(metric, Counter)
        if isinstance(metric, Histogram):
            assert name.endswith("_seconds")


def test_no_label_can_hold_a_person() -> None:
    closed = {
        "arm",
        "channel",
        "intent",
        "kind",
        "lane",
        "standing",
        "line",
        "outcome",
        "promise",
        "provider",
        "reason",
        "result",
        "row",
        "rule",
        "segment",
        "source",
        "status",
        "to",
        "transport",
        "type",
    }
    assert {label for metric in DEFINED.values() for label in metric._labelnames} <= closed


def test_a_label_value_from_outside_is_bounded() -> None:
    assert metrics.bounded("sms", {"sms", "email"}) == "sms"
    assert metrics.bounded("'; DROP TABLE", {"sms", "email"}) == "unknown"
    assert metrics.bounded(None, {"sms"}, other="none") == "none"


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {series for expression in expressions() for series in named_in(expression)}

    assert shown - SERIES.keys() == set()
    assert set(DEFINED) - {SERIES[series] for series in shown} == set()


def test_the_dashboard_has_its_rows_and_no_panel_twice() -> None:
    panels = dashboard()["panels"]

    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Promises", "Flow", "Sending", "Pacing", "Replies", "Intake", "Clock"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_dashboard_uses_the_provisioned_datasource_and_lies_where_grafana_looks() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "fleet.yml").read_text())["providers"]
    mounts = services()["grafana"]["volumes"]

    used = {panel["datasource"]["uid"] for panel in dashboard()["panels"] if panel["type"] != "row"}
    assert used == {source["uid"]}
    assert f"./ops/grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_every_alert_asks_for_metrics_there_are_and_labels_they_have() -> None:
    rules = [
        rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]

    for rule in rules:
        for series in named_in(rule["expr"]):
            assert series in SERIES, f"{rule['alert']} asks for {series}"
            known = {*DEFINED[SERIES[series]]._labelnames, "le"}
            for label in re.findall(rf"{series}\{{(\w+)", rule["expr"]):
                assert label in known, f"{rule['alert']} asks for {series} by {label}"
        for promise in re.findall(r'promise="(\w+)"', rule["expr"]):
            assert promise in PROMISES
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_every_metric_and_every_alert_is_explained() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())

    explained = set(re.findall(r"^\| `reactivate_(\w+)", text, re.MULTILINE))
    assert explained == set(DEFINED)
    assert [alert for alert in alerts if f"| {alert} |" not in text] == []


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_prometheus_scrapes_every_process_of_the_fleet() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = [static for job in config["scrape_configs"] for static in job["static_configs"]]

    scraped = {target for static in jobs for target in static["targets"]}

    ours = [name for name, service in services().items() if service.get("command", [""])[0] == "reactivate"]
    serving = [name for name in ours if services()[name]["command"][1] in {"web", "clock", "worker"}]
    assert len(serving) > 5
    assert scraped == {f"{name}:{8080 if name == 'web' else 9100}" for name in serving}


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "ops/prometheus/prometheus.yml"],
        ["test", "rules", "tests/observing/alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_accepts(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")

    done = subprocess.run([promtool, *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    # Grafana's own variable, filled in as it would be
    rules = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "1m")}
        for n, expression in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_are_served_until_stopped() -> None:
    port = free_port()
    stop = metrics.serve(port, host="127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
    finally:
        stop()

    assert "reactivate_conservation_gap" in text
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
