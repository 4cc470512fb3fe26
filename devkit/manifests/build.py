"""Builds overlays of k8s/ in a copy of it, with keys made for the purpose, into the objects a cluster would be given.

Besides the overlays as they stand, with the components that none of them takes up: those are promised to work in each.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devkit.manifests import local_keys, tools
from devkit.state import ROOT

K8S = ROOT / "k8s"
_CPU, _KEDA = "../../components/scale-cpu", "../../components/scale-keda"
_OTHERS = ("../../components/gpu", "../../components/cilium-hosts", "../../components/traces")

Object = dict[str, Any]


class BuildError(Exception):
    """An overlay cannot be built; the message is kustomize's."""


@dataclass(frozen=True, slots=True)
class Built:
    """An overlay's objects, and the Secrets' values (base64) that were made for this build: any other comes from git."""

    name: str
    objects: list[Object]
    made_up: frozenset[str]


def build_all(k8s: Path = K8S) -> list[Built]:
    """Every overlay, and every overlay with what else it may take up. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="scoregate-k8s-") as scratch:
        copy = Path(scratch) / "k8s"
        shutil.copytree(k8s, copy, ignore=shutil.ignore_patterns("generated"))
        overlays = sorted(path.parent for path in (copy / "overlays").glob("*/kustomization.yaml"))
        local_keys.ensure(copy / "overlays" / "local" / "generated")
        return [_build(folder) for overlay in overlays for folder in (overlay, _with_others(overlay))]


def _with_others(overlay: Path) -> Path:
    """A copy of the overlay, scaled by KEDA, with the other components on top."""
    other = overlay.with_name(f"{overlay.name}+keda+gpu+cilium-hosts+traces")
    shutil.copytree(overlay, other)
    file = other / "kustomization.yaml"
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    said["components"] = [_KEDA if one == _CPU else one for one in said["components"]] + list(_OTHERS)
    file.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    return other


def _build(overlay: Path) -> Built:
    done = subprocess.run(
        [*tools.kustomize(), str(overlay)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(f"{overlay.name}: {done.stderr.strip()}")
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    from_here = (overlay / "generated").is_dir()
    secrets = [one for one in objects if one["kind"] == "Secret"] if from_here else []
    made = frozenset(value for one in secrets for value in one.get("data", {}).values() if _is_new(value, overlay))
    return Built(overlay.name, objects, made)


def _is_new(value: str, overlay: Path) -> bool:
    plain = base64.b64decode(value)
    return any(plain in file.read_bytes() for file in (overlay / "generated").iterdir())
