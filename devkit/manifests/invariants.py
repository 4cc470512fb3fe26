"""The rules that all objects of an overlay must keep together, each a function that yields what breaks it.

A rule's docstring is what the table says of it. A rule that finds nothing to look at in an overlay is content.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from devkit.manifests import rules_pods as pods
from devkit.manifests import rules_wiring as wiring
from devkit.manifests.build import Built, Object
from devkit.manifests.objects import environment, of_kind, workloads
from devkit.manifests.schemas import name
from gateway.settings import GatewaySettings
from scorer.settings import ScorerSettings
from shared.deadline import MAX_TIMEOUT_MS
from shared.settings import S, SettingsError, read

Rule = Callable[[Built], Iterator[str]]


def settings_exist(built: Built) -> Iterator[str]:
    """gateway and scorer are given settings that they know, all that they need, and values that they take"""
    for service, settings, prefix in (
        ("gateway", GatewaySettings, "GATEWAY_"),
        ("scorer", ScorerSettings, "SCORER_"),
    ):
        for given in _environments(built, service):
            try:
                read(settings, prefix, given)
            except SettingsError as error:
                yield from (f"{service}: {mistake}" for mistake in error.mistakes)
            for other in sorted(given):
                if not other.startswith((prefix, "AZURE_", "OTEL_")):
                    yield f"{service}: {other} is nothing it reads"


def deadlines_shrink_inward(built: Built) -> Iterator[str]:
    """the way in is patient: HTTPRoute > longest deadline of a gateway > kill by the scorer > time for R"""
    longest = MAX_TIMEOUT_MS / 1000
    for settings in _settings(built, "scorer", ScorerSettings, "SCORER_"):
        kill = settings.max_predict_s + settings.predict_grace_s
        if not longest > kill > settings.max_predict_s:
            yield f"scorer: {longest:g} s (gateway) > {kill:g} s (kill) > {settings.max_predict_s:g} s (R) does not hold"
    for route in of_kind(built, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for what in ("request", "backendRequest"):
                if rule.get("backendRefs") and seconds(rule.get("timeouts", {}).get(what, "0s")) <= longest:
                    yield f"{name(route)}: timeouts.{what} must be longer than a gateway's longest deadline, {longest:g} s"


def pods_outlive_their_drain(built: Built) -> Iterator[str]:
    """who sends to a pod learns that it goes before it stops listening, its drain is longer than a gateway's longest deadline, and
    the time it is given to end than preStop, delay and drain together"""
    longest = MAX_TIMEOUT_MS / 1000
    for service, drains in (
        ("gateway", [(s.drain_delay_s, s.drain_s) for s in _settings(built, "gateway", GatewaySettings, "GATEWAY_")]),
        ("scorer", [(s.drain_delay_s, s.drain_s) for s in _settings(built, "scorer", ScorerSettings, "SCORER_")]),
    ):
        pods = [
            (one.pod, c) for one in workloads(built) for c in one.pod["containers"] if one.name == c["name"] == service
        ]
        for (pod, container), (delay, drain) in zip(pods, drains, strict=False):  # fewer where settings_exist complains
            grace = pod.get("terminationGracePeriodSeconds", 30)
            stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if not stop and not delay:
                yield f"{service}: no preStop and no drain delay, so it ends while others still send to it"
            if service == "scorer" and not delay:
                yield "scorer: no drain delay; only that tells gateways, who find it in DNS until it is gone"
            if drain <= longest:
                yield f"{service}: {drain:g} s of drain cut off what may last {longest:g} s"
            if grace <= stop + delay + drain:
                yield f"{service}: {grace} s of grace, {stop + delay:g} s before and {drain:g} s of drain"


def secrets_are_elsewhere(built: Built) -> Iterator[str]:
    """no secret stands in what git holds: Secrets are made for the cluster or fetched by it"""
    for one in of_kind(built, "Secret"):
        for key, value in {**one.get("data", {}), **one.get("stringData", {})}.items():
            if value not in built.made_up:
                yield f"{name(one)}: {key} comes from a file of this repository"
    for one in of_kind(built, "ConfigMap"):
        for key, value in one.get("data", {}).items():
            if said := _secret_in(key, value):
                yield f"{name(one)}: {key} holds {said}"
    for workload in workloads(built):
        for container in workload.containers:
            for entry in container.get("env", []):
                if said := _secret_in(entry["name"], entry.get("value", "")):
                    yield f"{workload.name}: {entry['name']} holds {said}"


def _secret_in(key: str, value: str) -> str | None:
    if "PRIVATE KEY-----" in value:
        return "a private key"
    if re.search(r"://[^/\s@]*:[^/\s@]+@", value):
        return "a URL with a password"
    if value and re.search(r"(PASSWORD|SECRET|TOKEN|ACCOUNT_KEY)$", key):
        return "what its name calls a secret"
    return None


def one_scaler_per_deployment(built: Built) -> Iterator[str]:
    """gateway and scorer have one scaler each and no `replicas`, never less than two pods, and go down slowly"""
    scalers: dict[str, list[Object]] = {}
    for scaler in of_kind(built, "HorizontalPodAutoscaler", "ScaledObject"):
        scalers.setdefault(scaler["spec"]["scaleTargetRef"]["name"], []).append(scaler)
    for one in of_kind(built, "Deployment"):
        own = one["metadata"]["name"]
        count, fixed = len(scalers.get(own, [])), "replicas" in one["spec"]
        if count > 1 or (count == 0) != fixed:
            yield f"{own}: {count} scalers, and {'a number of' if fixed else 'no'} replicas"
    for scaler in (one for several in scalers.values() for one in several):
        spec = scaler["spec"]
        least = spec.get("minReplicas", spec.get("minReplicaCount", 1))
        advanced = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
        down = (spec.get("behavior") or advanced.get("behavior") or {}).get("scaleDown", {})
        if least < 2:
            yield f"{name(scaler)}: may go down to {least}"
        if down.get("stabilizationWindowSeconds", 300) < 300 or not down.get("policies"):
            yield f"{name(scaler)}: scale-down is not slowed"


def _environments(built: Built, service: str) -> list[dict[str, str]]:
    return [
        environment(built, container, one.namespace)
        for one in workloads(built)
        for container in one.pod["containers"]
        if one.name == container["name"] == service
    ]


def _settings(built: Built, service: str, settings: type[S], prefix: str) -> Iterator[S]:
    for given in _environments(built, service):
        with contextlib.suppress(SettingsError):  # settings_exist says what is wrong
            yield read(settings, prefix, given)


def seconds(text: str) -> float:
    """Of a duration of the Gateway API: 1h30m, 65s, 500ms."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(int(amount) * units[unit] for amount, unit in re.findall(r"(\d+)(ms|h|m|s)", text))


RULES: tuple[Rule, ...] = (
    settings_exist,
    deadlines_shrink_inward,
    pods_outlive_their_drain,
    wiring.selectors_match,
    wiring.references_exist,
    wiring.ports_have_names,
    wiring.all_is_denied_first,
    wiring.the_world_is_not_the_neighbours,
    pods.images_are_pinned,
    pods.nothing_is_privileged,
    pods.pods_are_probed_apart_and_limited,
    pods.services_outlive_a_node,
    secrets_are_elsewhere,
    one_scaler_per_deployment,
)
