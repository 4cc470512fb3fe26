"""Rules for single pods: what they run, as whom, with how much, and where. See invariants.py."""

from __future__ import annotations

import re
from collections.abc import Iterator

from devkit.manifests.build import Built, Object
from devkit.manifests.objects import of_kind, workloads

_PINNED = re.compile(r".+(@sha256:[0-9a-f]{64}|:(?!latest$)[\w][\w.-]*)")
_HOST = ("hostNetwork", "hostPID", "hostIPC")
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def images_are_pinned(built: Built) -> Iterator[str]:
    """every image has a digest or a tag that is not latest"""
    for one in workloads(built):
        for container in one.containers:
            if not _PINNED.fullmatch(container["image"].rsplit("/", 1)[-1]):
                yield f"{one.name}: {container['image']}"


def nothing_is_privileged(built: Built) -> Iterator[str]:
    """pods keep to the restricted standard, on a read-only root, without a token for the API server"""
    for one in workloads(built):
        pod = one.pod
        yield from (f"{one.name}: {what}" for what in _HOST if pod.get(what))
        yield from (
            f"{one.name}: the volume {v['name']} is not of a kind that restricted pods may have"
            for v in pod.get("volumes", [])
            if not v.keys() - {"name"} <= _VOLUMES
        )
        if pod.get("automountServiceAccountToken", True):
            yield f"{one.name}: automountServiceAccountToken is not false"
        if pod.get("enableServiceLinks", True):
            yield f"{one.name}: enableServiceLinks is not false, and GATEWAY_PORT=tcp://… would not be a port"
        for container in one.containers:
            own = container.get("securityContext", {})
            yield from (
                f"{one.name}/{container['name']}: {what}"
                for what in _beyond_restricted(pod.get("securityContext", {}), own)
            )


def _beyond_restricted(pod: Object, own: Object) -> Iterator[str]:
    both = pod | own
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation", True):
        yield "allowPrivilegeEscalation is not false"
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
        yield "does not drop all capabilities"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser", 1) == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "has no seccomp profile"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root file system"


def pods_are_probed_apart_and_limited(built: Built) -> Iterator[str]:
    """startup, readiness and liveness are asked apart; CPU, memory and disk are asked for and limited"""
    for one in workloads(built):
        for container in one.containers:
            resources = container.get("resources", {})
            for what in ("cpu", "memory", "ephemeral-storage"):
                if not all(what in resources.get(side, {}) for side in ("requests", "limits")):
                    yield f"{one.name}/{container['name']}: {what} is not both asked for and limited"
        if one.whole["kind"] == "Job":
            continue
        for container in one.pod["containers"]:
            lacking = {"startupProbe", "readinessProbe", "livenessProbe"} - container.keys()
            yield from (f"{one.name}/{container['name']}: no {probe}" for probe in sorted(lacking))
            asked = [container.get(f"{which}Probe", {}).get("httpGet") for which in ("readiness", "liveness")]
            if asked[0] and asked[0] == asked[1]:
                yield f"{one.name}/{container['name']}: readiness and liveness ask the same"


def services_outlive_a_node(built: Built) -> Iterator[str]:
    """gateway and scorer are spread over zones and nodes, and a disruption budget guards them"""
    guarded = [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(built, "PodDisruptionBudget")]
    for one in workloads(built):
        if one.name not in {"gateway", "scorer"}:
            continue
        keys = {spread["topologyKey"] for spread in one.pod.get("topologySpreadConstraints", [])}
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname"):
            if key not in keys:
                yield f"{one.name}: not spread over {key}"
        if not any(labels.items() <= one.labels.items() for labels in guarded):
            yield f"{one.name}: no PodDisruptionBudget"
        if one.whole["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"{one.name}: an update takes pods away before it adds any (maxUnavailable is not 0)"
