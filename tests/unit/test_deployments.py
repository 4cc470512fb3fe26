"""compose.yaml and k8s/base: whole, in one style, and with no setting that the services do not know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.state import ROOT
from gateway.core.policy_file import read_policy
from gateway.settings import GatewaySettings
from scorer.settings import ScorerSettings
from shared.settings import read

BASE = ROOT / "k8s" / "base"
SERVICES = ("gateway", "scorer")


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _check(service: str, environment: dict[str, str]) -> None:
    if service == "gateway":
        read(GatewaySettings, "GATEWAY_", environment)
    else:
        read(ScorerSettings, "SCORER_", environment)


@pytest.mark.parametrize("service", SERVICES)
def test_compose_and_the_image_set_only_what_the_service_knows(service: str) -> None:
    set_in_image = dict(re.findall(r"((?:GATEWAY|SCORER)_\w+)=(\S+)", (ROOT / service / "Dockerfile").read_text()))
    set_by_compose = _yaml(ROOT / "compose.yaml")["services"][service]["environment"]
    assert set_in_image
    _check(service, set_in_image | {name: str(value) for name, value in set_by_compose.items()})


@pytest.mark.parametrize("service", SERVICES)
def test_kubernetes_sets_only_what_the_service_knows(service: str) -> None:
    lines = (BASE / service / "settings.env").read_text().split()
    environment = dict(line.split("=", 1) for line in lines)
    (container,) = _yaml(BASE / service / "deployment.yaml")["spec"]["template"]["spec"]["containers"]
    environment |= {entry["name"]: "x" for entry in container.get("env", [])}
    _check(service, environment)


def test_the_policy_of_the_base_is_one() -> None:
    read_policy((BASE / "gateway" / "policy.yaml").read_text(encoding="utf-8"))


def test_each_file_holds_one_kind_and_is_named_after_it_and_all_are_listed() -> None:
    files = sorted(path for path in BASE.rglob("*.yaml") if path.name not in ("kustomization.yaml", "policy.yaml"))
    for path in files:
        (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        assert path.stem == document["kind"].lower()
        assert document["metadata"]["name"] == path.parent.name
    assert sorted(BASE / name for name in _yaml(BASE / "kustomization.yaml")["resources"]) == files


@pytest.mark.parametrize("service", SERVICES)
def test_pods_are_restricted_probed_on_the_internal_port_and_free_of_service_links(service: str) -> None:
    pod = _yaml(BASE / service / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["enableServiceLinks"] is False, "GATEWAY_PORT=tcp://… would not be a port"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "internal"}
    assert set(container["resources"]) == {"requests", "limits"}


def test_only_the_gateway_and_the_stand_in_are_published_and_only_on_loopback() -> None:
    services = _yaml(ROOT / "compose.yaml")["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"gateway", "entra"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
