"""Rules for what objects say of each other: selectors, references, ports, and who may talk to whom. See invariants.py."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from devkit.manifests.build import Built, Object
from devkit.manifests.objects import Workload, chosen, namespace, of_kind, workloads
from devkit.manifests.schemas import name

#: Never to be reached from a pod over HTTPS: private networks, carriers' and the cloud's own metadata.
_NOT_THE_WORLD = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")


def selectors_match(built: Built) -> Iterator[str]:
    """what selects pods finds some, and what scales or routes finds its target"""
    for one in built.objects:
        labels = _selector(one)
        if labels is not None and not chosen(built, namespace(one), labels):
            yield f"{name(one)}: selects no pod ({labels})"
    for one in of_kind(built, "Deployment"):
        spec = one["spec"]
        if not spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"].get("labels", {}).items():
            yield f"{name(one)}: does not select its own pods"
    deployments = {(namespace(one), one["metadata"]["name"]) for one in of_kind(built, "Deployment")}
    for scaler in of_kind(built, "HorizontalPodAutoscaler", "ScaledObject"):
        if (namespace(scaler), scaler["spec"]["scaleTargetRef"]["name"]) not in deployments:
            yield f"{name(scaler)}: there is no Deployment {scaler['spec']['scaleTargetRef']['name']}"


def _selector(one: Object) -> dict[str, str] | None:
    spec = one.get("spec", {})
    labels: dict[str, str] | None
    if one["kind"] == "Service":
        labels = spec.get("selector")
    elif one["kind"] == "NetworkPolicy":
        labels = spec["podSelector"].get("matchLabels", {})
    elif one["kind"] == "CiliumNetworkPolicy":
        labels = spec["endpointSelector"].get("matchLabels", {})
    elif one["kind"] in {"PodDisruptionBudget", "PodMonitor"}:
        labels = spec["selector"].get("matchLabels", {})
    else:
        labels = None
    return labels


def references_exist(built: Built) -> Iterator[str]:
    """ConfigMaps, Secrets, service accounts, secret providers, issuers and Services that are named are there"""
    there = {(one["kind"], namespace(one), one["metadata"]["name"]) for one in built.objects}
    for workload in workloads(built):
        for kind, wanted in _wanted(workload):
            if (kind, workload.namespace, wanted) not in there:
                yield f"{workload.name}: there is no {kind} {wanted}"
    for route in of_kind(built, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for ref in rule.get("backendRefs", []):
                if ("Service", namespace(route), ref["name"]) not in there:
                    yield f"{name(route)}: there is no Service {ref['name']}"
        for parent in route["spec"]["parentRefs"]:
            where = parent.get("namespace", namespace(route))
            if ("Gateway", where, parent["name"]) not in there:
                yield f"{name(route)}: there is no Gateway {where}/{parent['name']}"
    for certificate in of_kind(built, "Certificate"):
        issuer = certificate["spec"]["issuerRef"]
        if (issuer.get("kind", "Issuer"), namespace(certificate), issuer["name"]) not in there:
            yield f"{name(certificate)}: there is no issuer {issuer['name']}"


def _wanted(workload: Workload) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", workload.pod.get("serviceAccountName", "default")
    for volume in workload.pod.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "csi" in volume:
            yield "SecretProviderClass", volume["csi"]["volumeAttributes"]["secretProviderClass"]
    for container in workload.containers:
        for source in container.get("envFrom", []):
            yield (
                ("ConfigMap", source["configMapRef"]["name"])
                if "configMapRef" in source
                else (
                    "Secret",
                    source["secretRef"]["name"],
                )
            )
        for entry in container.get("env", []):
            if ref := entry.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", ref["name"]


def ports_have_names(built: Built) -> Iterator[str]:
    """Services, probes, policies between pods and monitors mean ports by names that the pods have"""
    for service in of_kind(built, "Service"):
        for port in service["spec"]["ports"]:
            pods = chosen(built, namespace(service), service["spec"]["selector"])
            yield from _unknown(name(service), port.get("targetPort"), pods)
    for monitor in of_kind(built, "PodMonitor"):
        pods = chosen(built, namespace(monitor), monitor["spec"]["selector"]["matchLabels"])
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            yield from _unknown(name(monitor), endpoint.get("port"), pods)
    for workload in workloads(built):
        for container in workload.containers:
            for which in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(which, {})
                if asked := probe.get("httpGet") or probe.get("tcpSocket"):
                    yield from _unknown(f"{workload.name}: {which}", asked["port"], [workload])
    for policy in of_kind(built, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            own = chosen(built, namespace(policy), policy["spec"]["podSelector"].get("matchLabels", {}))
            for port in rule.get("ports", []):
                yield from _unknown(f"{name(policy)}: ingress", port["port"], own)
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    found = chosen(built, namespace(policy), peer["podSelector"].get("matchLabels", {}))
                    for port in rule.get("ports", []):
                        # Which overlays have Redis differs, and a rule for pods that are not there allows nothing.
                        yield from _unknown(f"{name(policy)}: egress", port["port"], found)


def _unknown(who: str, port: object, pods: list[Workload]) -> Iterator[str]:
    if not isinstance(port, str):
        yield f"{who}: port {port} is not meant by name"
        return
    yield from (f"{who}: {pod.name} has no port {port}" for pod in pods if port not in pod.ports)


def all_is_denied_first(built: Built) -> Iterator[str]:
    """each namespace with pods of ours denies all traffic by default, and each pod has a policy of its own"""
    policies = list(of_kind(built, "NetworkPolicy"))
    closed = {
        namespace(one)
        for one in policies
        if one["spec"]["podSelector"] == {}
        and set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not one["spec"].get("ingress")
        and not one["spec"].get("egress")
    }
    for workload in workloads(built):
        if workload.namespace not in closed:
            yield f"{workload.name}: {workload.namespace} does not deny by default"
        own = [
            p
            for p in policies
            if (labels := p["spec"]["podSelector"].get("matchLabels")) and _meant(p, labels, workload)
        ]
        if not any(set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"} for one in own):
            yield f"{workload.name}: no policy of its own for both directions"


def _meant(policy: Object, labels: dict[str, str], workload: Workload) -> bool:
    return namespace(policy) == workload.namespace and labels.items() <= workload.labels.items()


def the_world_is_not_the_neighbours(built: Built) -> Iterator[str]:
    """who may reach any address over HTTPS may not reach private ones; a scorer takes data from gateways alone"""
    for policy in of_kind(built, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            if not any(port.get("port") == 443 for port in rule.get("ports", [{"port": 443}])):
                continue
            if not rule.get("to"):
                yield f"{name(policy)}: egress to anything"
            for block in (peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer):
                left_out = [ipaddress.ip_network(one) for one in block.get("except", [])]
                for private in map(ipaddress.ip_network, _NOT_THE_WORLD):
                    if not any(private.subnet_of(one) for one in left_out):  # type: ignore[arg-type]
                        yield f"{name(policy)}: egress on 443 reaches {private}"
        labels = policy["spec"]["podSelector"].get("matchLabels", {})
        if labels.get("app.kubernetes.io/name") != "scorer":
            continue
        for rule in policy["spec"].get("ingress", []):
            if any(port["port"] == "data" for port in rule.get("ports", [])):
                peers = [peer.get("podSelector", {}).get("matchLabels") for peer in rule.get("from", [])]
                if peers != [{"app.kubernetes.io/name": "gateway"}]:
                    yield f"{name(policy)}: others than gateways reach the data port"
