"""`./dev manifests`: what k8s/ says is right, and each rule sees its own breach."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from devkit.manifests import build, invariants, schemas
from devkit.manifests.build import Built, Object
from devkit.state import ROOT

Break = Callable[[Callable[[str, str], Object]], object]
AKS, LOCAL, AKS_KEDA = "aks", "local", "aks+keda+gpu+cilium-hosts+traces"
CASES: list[tuple[str, str, Break, str]] = [
    # rule, overlay, what is done to it, what must be said
    (
        "settings_exist",
        AKS,
        lambda get: data(get, "gateway-settings").update(GATEWAY_POLICY_FIEL="x"),
        "GATEWAY_POLICY_FIEL is not a setting",
    ),
    ("settings_exist", AKS, lambda get: data(get, "scorer-settings").update(SCORER_POLL_S="soon"), "SCORER_POLL_S"),
    ("settings_exist", AKS, lambda get: data(get, "scorer-settings").pop("SCORER_STORE_URL"), "is required"),
    ("settings_exist", AKS, lambda get: data(get, "gateway-settings").update(REDIS_URL="x"), "REDIS_URL is nothing"),
    (
        "deadlines_shrink_inward",
        AKS,
        lambda get: get("HTTPRoute", "gateway")["spec"]["rules"][0]["timeouts"].update(request="1m"),
        "longer than a gateway's longest deadline",
    ),
    (
        "deadlines_shrink_inward",
        LOCAL,
        lambda get: data(get, "scorer-settings").update(SCORER_MAX_PREDICT_S="60"),
        "60 s (gateway) > 62 s (kill)",
    ),
    (
        "pods_outlive_their_drain",
        LOCAL,
        lambda get: pod(get, "scorer").update(terminationGracePeriodSeconds=30),
        "30 s of grace, 8 s before and 65 s of drain",
    ),
    (
        "pods_outlive_their_drain",
        AKS,
        lambda get: data(get, "gateway-settings").update(GATEWAY_DRAIN_S="30"),
        "30 s of drain cut off what may last 60 s",
    ),
    ("pods_outlive_their_drain", LOCAL, lambda get: container(get, "gateway").pop("lifecycle"), "no preStop"),
    (
        "pods_outlive_their_drain",
        LOCAL,
        lambda get: data(get, "scorer-settings").update(SCORER_DRAIN_DELAY_S="0"),
        "scorer: no drain delay; only that tells gateways",
    ),
    (
        "selectors_match",
        AKS,
        lambda get: get("Service", "gateway")["spec"]["selector"].update({"app.kubernetes.io/name": "gate"}),
        "Service/gateway: selects no pod",
    ),
    (
        "selectors_match",
        AKS,
        lambda get: get("PodMonitor", "scorer")["spec"]["selector"]["matchLabels"].update(a="b"),
        "PodMonitor/scorer: selects no pod",
    ),
    (
        "selectors_match",
        AKS,
        lambda get: get("HorizontalPodAutoscaler", "scorer")["spec"]["scaleTargetRef"].update(name="score"),
        "there is no Deployment score",
    ),
    (
        "selectors_match",
        AKS,
        lambda get: get("Deployment", "scorer")["spec"]["selector"]["matchLabels"].update(a="b"),
        "does not select its own pods",
    ),
    (
        "references_exist",
        LOCAL,
        lambda get: get("Secret", "gateway-internal-key")["metadata"].update(name="another"),
        "gateway: there is no Secret gateway-internal-key",
    ),
    (
        "references_exist",
        AKS,
        lambda get: get("SecretProviderClass", "scorer")["metadata"].update(name="another"),
        "scorer: there is no SecretProviderClass scorer",
    ),
    (
        "references_exist",
        AKS,
        lambda get: get("Certificate", "scoregate-tls")["spec"]["issuerRef"].update(name="nobody"),
        "there is no issuer nobody",
    ),
    (
        "references_exist",
        AKS,
        lambda get: get("HTTPRoute", "gateway")["spec"]["parentRefs"][0].update(namespace="scoregate"),
        "there is no Gateway scoregate/scoregate",
    ),
    (
        "ports_have_names",
        AKS,
        lambda get: get("Service", "gateway")["spec"]["ports"][0].update(targetPort=8080),
        "port 8080 is not meant by name",
    ),
    (
        "ports_have_names",
        AKS,
        lambda get: container(get, "gateway")["ports"][0].update(name="web"),
        "gateway has no port http",
    ),
    (
        "ports_have_names",
        AKS,
        lambda get: get("PodMonitor", "gateway")["spec"]["podMetricsEndpoints"][0].update(port="metrics"),
        "gateway has no port metrics",
    ),
    (
        "all_is_denied_first",
        LOCAL,
        lambda get: get("NetworkPolicy", "default-deny")["spec"].update(policyTypes=["Ingress"]),
        "scoregate does not deny by default",
    ),
    (
        "all_is_denied_first",
        LOCAL,
        lambda get: get("NetworkPolicy", "redis")["spec"].update(policyTypes=["Ingress"]),
        "redis: no policy of its own",
    ),
    (
        "the_world_is_not_the_neighbours",
        AKS,
        lambda get: get("NetworkPolicy", "scorer")["spec"]["egress"][1]["to"][0]["ipBlock"]["except"].remove(
            "169.254.0.0/16"
        ),
        "egress on 443 reaches 169.254.0.0/16",
    ),
    (
        "the_world_is_not_the_neighbours",
        AKS,
        lambda get: get("NetworkPolicy", "scorer")["spec"]["ingress"][0]["from"].append({"podSelector": {}}),
        "others than gateways",
    ),
    (
        "images_are_pinned",
        AKS,
        lambda get: container(get, "gateway").update(image="cr.azurecr.io/scoregate-gateway"),
        "cr.azurecr.io/scoregate-gateway",
    ),
    ("images_are_pinned", LOCAL, lambda get: container(get, "redis").update(image="redis:latest"), "redis:latest"),
    (
        "nothing_is_privileged",
        AKS,
        lambda get: container(get, "scorer")["securityContext"].update(privileged=True),
        "scorer/scorer: privileged",
    ),
    (
        "nothing_is_privileged",
        AKS,
        lambda get: container(get, "scorer")["securityContext"]["capabilities"].update(add=["SYS_PTRACE"]),
        "does not drop all",
    ),
    ("nothing_is_privileged", AKS, lambda get: pod(get, "gateway").update(hostNetwork=True), "gateway: hostNetwork"),
    (
        "nothing_is_privileged",
        AKS,
        lambda get: pod(get, "gateway")["securityContext"].update(runAsNonRoot=False),
        "may run as root",
    ),
    (
        "nothing_is_privileged",
        AKS,
        lambda get: pod(get, "gateway")["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
        "the volume host",
    ),
    ("nothing_is_privileged", AKS, lambda get: pod(get, "scorer").pop("enableServiceLinks"), "enableServiceLinks"),
    (
        "pods_are_probed_apart_and_limited",
        AKS,
        lambda get: container(get, "scorer").pop("startupProbe"),
        "no startupProbe",
    ),
    (
        "pods_are_probed_apart_and_limited",
        AKS,
        lambda get: container(get, "scorer").update(readinessProbe=container(get, "scorer")["livenessProbe"]),
        "readiness and liveness ask the same",
    ),
    (
        "pods_are_probed_apart_and_limited",
        AKS,
        lambda get: container(get, "scorer")["resources"]["limits"].pop("memory"),
        "memory is not both asked for and limited",
    ),
    (
        "services_outlive_a_node",
        AKS,
        lambda get: pod(get, "scorer")["topologySpreadConstraints"].pop(0),
        "not spread over topology.kubernetes.io/zone",
    ),
    (
        "services_outlive_a_node",
        AKS,
        lambda get: get("PodDisruptionBudget", "gateway")["spec"]["selector"]["matchLabels"].update(a="b"),
        "gateway: no PodDisruptionBudget",
    ),
    (
        "services_outlive_a_node",
        AKS,
        lambda get: get("Deployment", "gateway")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
        "takes pods away before it adds any",
    ),
    (
        "secrets_are_elsewhere",
        LOCAL,
        lambda get: get("Secret", "azurite")["data"].update(AZURITE_ACCOUNTS="cGxhaW4="),
        "comes from a file of this repository",
    ),
    (
        "secrets_are_elsewhere",
        AKS,
        lambda get: data(get, "gateway-settings").update(GATEWAY_REDIS_URL="rediss://user:pass@host:10000"),
        "holds a URL with a password",
    ),
    (
        "secrets_are_elsewhere",
        AKS,
        lambda get: container(get, "scorer").update(env=[{"name": "AZURE_STORAGE_ACCOUNT_KEY", "value": "abc"}]),
        "holds what its name calls a secret",
    ),
    (
        "secrets_are_elsewhere",
        AKS,
        lambda get: data(get, "gateway-policy").update(key="-----BEGIN PRIVATE KEY-----"),
        "holds a private key",
    ),
    (
        "one_scaler_per_deployment",
        AKS,
        lambda get: get("Deployment", "gateway")["spec"].update(replicas=2),
        "gateway: 1 scalers, and a number of replicas",
    ),
    (
        "one_scaler_per_deployment",
        AKS,
        lambda get: get("HorizontalPodAutoscaler", "scorer")["spec"]["scaleTargetRef"].update(name="gateway"),
        "gateway: 2 scalers",
    ),
    (
        "one_scaler_per_deployment",
        AKS_KEDA,
        lambda get: get("ScaledObject", "scorer")["spec"].update(minReplicaCount=1),
        "ScaledObject/scorer: may go down to 1",
    ),
    (
        "one_scaler_per_deployment",
        AKS,
        lambda get: get("HorizontalPodAutoscaler", "scorer")["spec"]["behavior"].pop("scaleDown"),
        "scale-down is not slowed",
    ),
]


def data(get: Callable[[str, str], Object], name: str) -> dict[str, str]:
    return get("ConfigMap", name)["data"]  # type: ignore[no-any-return]


def pod(get: Callable[[str, str], Object], name: str) -> dict[str, Any]:
    return get("Deployment", name)["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def container(get: Callable[[str, str], Object], name: str) -> dict[str, Any]:
    return next(one for one in pod(get, name)["containers"] if one["name"] == name)


@pytest.fixture(scope="module")
def built() -> dict[str, Built]:
    return {one.name: one for one in build.build_all()}


def getter(objects: list[Object]) -> Callable[[str, str], Object]:
    """Finds by kind and name, a generated name without its digest."""

    def get(kind: str, name: str) -> Object:
        (found,) = [
            one
            for one in objects
            if one["kind"] == kind
            and one["metadata"]["name"] in {name, *([one["metadata"]["name"]] if is_generated(one, name) else [])}
        ]
        return found

    return get


def is_generated(one: Object, name: str) -> bool:
    stem, _, digest = one["metadata"]["name"].rpartition("-")
    return one["kind"] in {"ConfigMap", "Secret"} and stem == name and len(digest) == 10


def test_every_overlay_is_built_and_also_with_what_none_takes_up(built: dict[str, Built]) -> None:
    names = {path.parent.name for path in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml")}
    assert set(built) == names | {f"{name}+keda+gpu+cilium-hosts+traces" for name in names}
    used = {path.parent.name for path in (ROOT / "k8s" / "components").glob("*/kustomization.yaml")}
    assert used == {"scale-cpu", "scale-keda", "gpu", "cilium-hosts", "traces"}


def test_pods_that_trace_are_told_where_and_may_go_there(built: dict[str, Built]) -> None:
    for name, one in built.items():
        traces = "traces" in name
        policies = [p for p in one.objects if p["kind"] == "NetworkPolicy" and p["metadata"]["name"] == "traces"]
        assert [p["spec"]["egress"][0]["ports"][0]["port"] for p in policies] == [4318] * traces
        for service in ("gateway", "scorer"):
            told = data(getter(one.objects), f"{service}-settings").get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
            assert told.endswith(":4318") == traces


def test_the_pods_network_of_a_cluster_is_said_where_the_cluster_is_made_alone() -> None:
    files = [path for path in (ROOT / "k8s").rglob("*") if path.is_file() and path.suffix != ".md"]
    (said,) = [path for path in files if "10.244.0.0/16" in path.read_text(encoding="utf-8")]
    assert said.name == "cluster.bicep"


@pytest.mark.parametrize("rule", invariants.RULES, ids=lambda rule: rule.__name__)
def test_every_overlay_keeps_every_rule(built: dict[str, Built], rule: invariants.Rule) -> None:
    assert {name: list(rule(one)) for name, one in built.items()} == {name: [] for name in built}


@pytest.mark.parametrize(("rule", "overlay", "do", "said"), CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES])
def test_a_breach_is_seen_by_its_rule(built: dict[str, Built], rule: str, overlay: str, do: Break, said: str) -> None:
    broken = copy.deepcopy(built[overlay].objects)
    do(getter(broken))
    judge = next(one for one in invariants.RULES if one.__name__ == rule)
    assert said in "\n".join(judge(Built(overlay, broken, built[overlay].made_up)))


def test_each_rule_is_broken_here_once() -> None:
    assert {case[0] for case in CASES} == {rule.__name__ for rule in invariants.RULES}


# --- schemas


def test_every_object_is_what_its_schema_takes(built: dict[str, Built]) -> None:
    assert schemas.judge(built[AKS_KEDA].objects) == []


@pytest.mark.parametrize(
    ("kind", "name", "do", "said"),
    [
        ("Deployment", "gateway", lambda one: one["spec"].update(replica=2), "'replica' was unexpected"),
        ("Service", "gateway", lambda one: one["spec"]["ports"][0].update(port="80"), "port"),
        ("ScaledObject", "scorer", lambda one: one["spec"].update(minReplicas=2), "minReplicas"),
        ("ScaledObject", "scorer", lambda one: one["spec"]["triggers"][0].pop("type"), "type"),
        (
            "HTTPRoute",
            "gateway",
            lambda one: one["spec"]["rules"][0]["timeouts"].update(request="soon"),
            "timeouts/request",
        ),
        ("Certificate", "scoregate-tls", lambda one: one["spec"].update(dnsname=[]), "dnsname"),
        ("CiliumNetworkPolicy", "scorer-hosts", lambda one: one["spec"].update(ingres=[]), "ingres"),
        ("PodMonitor", "scorer", lambda one: one["spec"].update(endpoints=[]), "endpoints"),
        ("SecretProviderClass", "scorer", lambda one: one["spec"].update(provider="aws"), "provider"),
        ("PodMonitor", "scorer", lambda one: one.update(kind="PodMonitr", apiVersion="a/v1"), "there is no schema"),
    ],
)
def test_what_a_schema_does_not_know_is_a_mistake(
    built: dict[str, Built], kind: str, name: str, do: Callable[[Object], object], said: str
) -> None:
    one = copy.deepcopy(getter(built[AKS_KEDA].objects)(kind, name))
    do(one)
    assert said in "\n".join(schemas.judge([one]))


# --- params.env is the one place that differs between two installations on AKS


def test_every_value_of_params_env_arrives_and_no_placeholder_stays(built: dict[str, Built]) -> None:
    lines = (ROOT / "k8s" / "overlays" / "aks" / "params.env").read_text(encoding="utf-8").split()
    said = yaml.safe_dump(built[AKS].objects, width=10_000)
    assert "from params.env" not in said
    assert {line.split("=", 1)[0]: line.split("=", 1)[1] in said for line in lines} == {
        line.split("=", 1)[0]: True for line in lines
    }
    assert "aks-params" not in said
