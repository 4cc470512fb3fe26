"""Holds every object against its schema, strictly: an unknown field is a mistake.

Kubernetes' own kinds by the schemas of PyPI's kubernetes-validate. Custom resources by npm's @kubernetes-models, made from
the projects' own definitions: their validators for values, and the TypeScript compiler over their types for fields that do
not exist. SecretProviderClass has no model there: its schema is below. Azure's PodMonitor is Prometheus' under another group.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import kubernetes_validate

from devkit.manifests import tools
from devkit.manifests.build import Object

#: The oldest minor version that the manifests are for: preStop's `sleep` is on by default from 1.30, and AKS' managed Gateway
#: API needs more.
KUBERNETES = "1.33"

_MODELS = {
    "cert-manager.io/v1": "@kubernetes-models/cert-manager",
    "cilium.io/v2": "@kubernetes-models/cilium",
    "gateway.networking.k8s.io/v1": "@kubernetes-models/gateway-api",
    "keda.sh/v1alpha1": "@kubernetes-models/keda",
    "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator",
}
_SAME_AS = {"azmonitoring.coreos.com/v1": "monitoring.coreos.com/v1"}
#: secrets-store.csi.x-k8s.io/v1, as the driver's own definition has it.
_SECRET_PROVIDER_CLASS = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "secrets-store.csi.x-k8s.io/v1"},
        "kind": {"const": "SecretProviderClass"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["provider", "parameters"],
            "properties": {
                "provider": {"const": "azure"},
                "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def judge(objects: Sequence[Object]) -> list[str]:
    """One line for each mistake. Raises ToolError where the models cannot be used; else as `tools.packages`."""
    custom = [one for one in objects if _group(one) in _MODELS]
    found = []
    for one in objects:
        if _group(one) not in _MODELS:
            found += [f"{name(one)}: {said}" for said in _judge_own(one)]
    return found + (_judge_custom(custom) if custom else [])


def name(one: Object) -> str:
    """Kind/name, for messages."""
    return f"{one['kind']}/{one['metadata']['name']}"


def _group(one: Object) -> str:
    group = str(one["apiVersion"])
    return _SAME_AS.get(group, group)


def _judge_own(one: Object) -> list[str]:
    try:
        if one["kind"] == "SecretProviderClass":
            jsonschema.validate(one, _SECRET_PROVIDER_CLASS)
        else:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    except jsonschema.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path)) or 'it'}: {error.message}"[:300]]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"there is no schema for {one['apiVersion']} {one['kind']}: add one to devkit/manifests/schemas.py"]
    return []


def _judge_custom(objects: Sequence[Object]) -> list[str]:
    modules = [f"{_MODELS[_group(one)]}/{_group(one)}/{one['kind']}" for one in objects]
    texts = [json.dumps(one | {"apiVersion": _group(one)}) for one in objects]
    folder = tools.packages()
    script = tools.HERE / "validate.mjs"
    with tempfile.TemporaryDirectory(prefix="check-", dir=folder) as scratch:
        for file in (script, tools.HERE / "tsconfig.json"):
            (Path(scratch) / file.name).write_bytes(file.read_bytes())
        values = _run(
            ["node", script.name], scratch, json.dumps([list(pair) for pair in zip(modules, texts, strict=True)])
        )
        found = [f"{name(objects[at])}: {said}" for at, said in json.loads(values.stdout or "[]")]
        if values.returncode:
            raise tools.ToolError(f"the models could not be used:\n{values.stderr.strip()[-2000:]}")
        # One object a line, after as many lines of imports: a complaint's line says which it is about.
        lines = [
            f'import type {{ I{o["kind"]} as T{at} }} from "{m}";'
            for at, (o, m) in enumerate(zip(objects, modules, strict=True))
        ]
        lines += [f"export const o{at}: T{at} = {text};" for at, text in enumerate(texts)]
        (Path(scratch) / "check.ts").write_text("\n".join(lines) + "\n", encoding="utf-8")
        types = _run(["node", str(folder / "node_modules" / "typescript" / "bin" / "tsc"), "-p", "."], scratch, "")
    for line, said in re.findall(r"^check\.ts\((\d+),\d+\): error (TS\d+: .*)$", types.stdout, re.MULTILINE):
        at = (int(line) - 1) % len(objects)
        found.append(f"{name(objects[at])}: {said}")
    if types.returncode and not found:
        raise tools.ToolError(f"the models' types could not be used:\n{types.stdout.strip()[-2000:]}")
    return found


def _run(argv: list[str], folder: str, given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=folder, input=given, capture_output=True, text=True, check=False)
