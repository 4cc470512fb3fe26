"""One overlay's objects, as the rules ask for them: by kind, by label, and by what a pod is given."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devkit.manifests.build import Built, Object


@dataclass(frozen=True, slots=True)
class Workload:
    """What makes pods: its namespace, its pods' labels and their spec."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    pod: Object
    whole: Object

    @property
    def containers(self) -> list[Object]:
        """All of them, those that run before the others too."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Named ports of its containers."""
        return {p["name"]: p["containerPort"] for c in self.containers for p in c.get("ports", []) if "name" in p}


def namespace(one: Object) -> str:
    """Where it is, or its own name for a Namespace."""
    metadata = one["metadata"]
    return str(metadata["name"] if one["kind"] == "Namespace" else metadata.get("namespace", "default"))


def of_kind(built: Built, *kinds: str) -> Iterator[Object]:
    """Every object of these kinds."""
    return (one for one in built.objects if one["kind"] in kinds)


def workloads(built: Built) -> list[Workload]:
    """Every Deployment and Job."""
    return [
        Workload(
            one["metadata"]["name"],
            namespace(one),
            one["spec"]["template"]["metadata"].get("labels", {}),
            one["spec"]["template"]["spec"],
            one,
        )
        for one in of_kind(built, "Deployment", "StatefulSet", "DaemonSet", "Job")
    ]


def chosen(built: Built, where: str, labels: Mapping[str, str]) -> list[Workload]:
    """Whose pods a selector in a namespace means; an empty one means all."""
    return [one for one in workloads(built) if one.namespace == where and labels.items() <= one.labels.items()]


def environment(built: Built, container: Object, where: str) -> dict[str, str]:
    """What a container finds in its environment, as far as ConfigMaps and Secrets of the overlay say."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= _data(built, where, source)
    for entry in container.get("env", []):
        found[entry["name"]] = entry.get("value", "(elsewhere)")
    return found


def _data(built: Built, where: str, source: Object) -> dict[str, str]:
    kind, ref = ("ConfigMap", "configMapRef") if "configMapRef" in source else ("Secret", "secretRef")
    for one in of_kind(built, kind):
        if one["metadata"]["name"] == source[ref]["name"] and namespace(one) == where:
            data: dict[str, str] = one.get("data", {})
            plain = kind == "ConfigMap"
            return {key: value if plain else base64.b64decode(value).decode() for key, value in data.items()}
    return {}
