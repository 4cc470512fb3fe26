"""Rules and dashboard: of metrics that there are, with labels they have, and each alert heard once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from devkit.manifests import alerts
from devkit.state import ROOT

MONITORING = ROOT / "k8s" / "monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["groups"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
DEMAND = yaml.safe_load((ROOT / "k8s" / "components" / "scale-keda" / "scorer" / "scaledobject.yaml").read_text())
#: What Prometheus adds to each series.
ADDED = {"namespace", "pod", "le", "job", "instance"}


def reference() -> dict[str, set[str]]:
    """Each metric of docs/reference/metrics.md and its labels."""
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", text, re.MULTILINE)
    known: dict[str, set[str]] = {}
    for name, kind, labels in rows:
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known |= {name + ending: set(re.findall(r"`(\w+)`", labels)) for ending in endings}
    return known


def expressions() -> list[str]:
    rules = [rule["expr"] for group in RULES for rule in group["rules"]]
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    variables = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    return [*rules, *panels, *variables, *(one["metadata"]["query"] for one in DEMAND["spec"]["triggers"])]


def test_every_metric_exists_and_has_the_labels_it_is_asked_by() -> None:
    known = reference()
    asked = 0
    for expression in expressions():
        for name, labels in re.findall(r"\b((?:scoregate|scorer)_\w+)(?:\{([^}]*)\})?", expression):
            assert name in known, expression
            assert set(re.findall(r"(\w+)=?[~!=]", labels)) <= known[name] | ADDED, expression
            asked += 1
    assert asked > 30


def test_rules_that_are_used_are_recorded() -> None:
    recorded = {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}
    used = set(re.findall(r"scoregate:[\w:]+", " ".join(expressions())))
    assert used == recorded


def test_each_alert_says_what_and_whom_and_is_heard_in_a_test() -> None:
    spoken = [rule for group in RULES for rule in group["rules"] if "alert" in rule]
    for rule in spoken:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}
    tests = (MONITORING / "rules_test.yaml").read_text(encoding="utf-8")
    heard = set(re.findall(r"labels: 'ALERTS\{alertname=\"(\w+)\"", tests))
    assert heard == {rule["alert"] for rule in spoken}


def test_promtool_takes_the_rules_and_sees_what_is_wrong(tmp_path: Path) -> None:
    assert alerts.judge() == []
    shutil.copytree(MONITORING, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        rules.read_text(encoding="utf-8").replace("scorer_version_down) == 1", "scorer_version_down) == 2")
    )
    assert any("FAILED" in line for line in alerts.judge(tmp_path))
    rules.write_text("groups: [{name: a, rules: [{alert: B, expr: 'sum('}]}]")
    assert any("parse error" in line for line in alerts.judge(tmp_path))


def test_panels_have_places_of_their_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
