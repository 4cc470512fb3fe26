"""compose.yaml and the files of k8s: whole, in one style, and with no setting that the services do not know."""

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


def test_the_policy_of_the_base_is_one() -> None:
    read_policy((BASE / "gateway" / "policy.yaml").read_text(encoding="utf-8"))


def test_each_file_holds_one_object_and_is_named_after_its_kind_and_all_are_taken_up() -> None:
    for folder in sorted(path.parent for path in (ROOT / "k8s").rglob("kustomization.yaml")):
        said = _yaml(folder / "kustomization.yaml")
        listed = [folder / name for name in said.get("resources", [])]
        for path in (path for path in listed if path.suffix == ".yaml"):
            (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
            assert path.stem.split("-")[0] == document["kind"].lower(), path
        patches = [folder / one["path"] for one in said.get("patches", []) if "path" in one]
        files = {path for path in folder.glob("*.yaml") if path.name not in ("kustomization.yaml", "policy.yaml")}
        assert files == {path for path in listed + patches if path.parent == folder and path.suffix}, folder


def test_only_the_gateway_and_the_stand_in_are_published_and_only_on_loopback() -> None:
    services = _yaml(ROOT / "compose.yaml")["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"gateway", "gateway-dev", "entra"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
