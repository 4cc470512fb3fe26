"""`python k8s/azure/verify.py`: what can be known of k8s/azure without a subscription. Outside CI: it wants the Azure CLI.

    python3 -m venv /tmp/azure-cli
    /tmp/azure-cli/bin/pip install azure-cli pycep-parser azure-mgmt-redisenterprise azure-mgmt-network azure-mgmt-privatedns
    /tmp/azure-cli/bin/python k8s/azure/verify.py

Commands: every `az` command that the scripts print in a dry run, and that README and workflows name, is given to the CLI's own
parser (the one its --help is made of) and stopped before it would run. So commands, options, required ones and allowed values are
the CLI's.

Bicep: each file is parsed, and each property of each resource is looked up in the models of Azure's management SDKs, down to the
values that an enumeration allows. That is not compiling: expressions are not typed, and an SDK speaks one API version, which is
printed beside ours where it is another. `az bicep build` does compile, with a compiler that az downloads.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

AZURE = Path(__file__).resolve().parent
ROOT = AZURE.parents[1]
DRY_RUNS = (
    ("deploy.sh", "--dry-run", "--github", "owner/name", "--publisher", "PUBLISHER"),
    ("deploy.sh", "--dry-run", "--with-docker", "--token-from", "az"),
    ("teardown.sh", "--dry-run", "--subscription", "SUBSCRIPTION"),
)
#: Resource type → the SDK's module and the model of its body.
MODELS = {
    "Microsoft.Authorization/roleAssignments": ("authorization", "RoleAssignmentCreateParameters"),
    "Microsoft.Cache/redisEnterprise": ("redisenterprise", "Cluster"),
    "Microsoft.Cache/redisEnterprise/databases": ("redisenterprise", "Database"),
    "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": ("redisenterprise", "AccessPolicyAssignment"),
    "Microsoft.ContainerRegistry/registries": ("containerregistry", "Registry"),
    "Microsoft.ContainerService/managedClusters": ("containerservice", "ManagedCluster"),
    "Microsoft.ContainerService/managedClusters/maintenanceConfigurations": (
        "containerservice",
        "MaintenanceConfiguration",
    ),
    "Microsoft.Insights/dataCollectionEndpoints": ("monitor", "DataCollectionEndpointResource"),
    "Microsoft.Insights/dataCollectionRuleAssociations": ("monitor", "DataCollectionRuleAssociationProxyOnlyResource"),
    "Microsoft.Insights/dataCollectionRules": ("monitor", "DataCollectionRuleResource"),
    "Microsoft.KeyVault/vaults": ("keyvault", "VaultCreateOrUpdateParameters"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("msi.v2024_11_30", "Identity"),
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials": (
        "msi.v2024_11_30",
        "FederatedIdentityCredential",
    ),
    "Microsoft.Monitor/accounts": ("monitor", "AzureMonitorWorkspaceResource"),
    "Microsoft.Network/networkSecurityGroups": ("network", "NetworkSecurityGroup"),
    "Microsoft.Network/privateDnsZones": ("privatedns", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": ("privatedns", "VirtualNetworkLink"),
    "Microsoft.Network/privateEndpoints": ("network", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ("network", "PrivateDnsZoneGroup"),
    "Microsoft.Network/virtualNetworks": ("network", "VirtualNetwork"),
    "Microsoft.OperationalInsights/workspaces": ("loganalytics", "Workspace"),
    "Microsoft.Storage/storageAccounts": ("storage", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("storage", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("storage", "BlobContainer"),
}
#: What no SDK has a model of, by https://learn.microsoft.com/azure/templates/microsoft.insights/diagnosticsettings
WITHOUT_MODEL: dict[str, dict[str, Any]] = {
    "Microsoft.Insights/diagnosticSettings": {
        "properties": {
            "workspaceId": "str",
            "storageAccountId": "str",
            "logAnalyticsDestinationType": "str",
            "logs": {"category": "str", "categoryGroup": "str", "enabled": "bool"},
            "metrics": {"category": "str", "enabled": "bool"},
        }
    }
}
#: Bicep's own, on every resource.
BICEP = {"name", "scope", "parent", "dependsOn", "location", "tags", "kind", "sku", "identity"}


class Parsed(BaseException):
    """The CLI has understood a command; not an Exception, or the CLI would report it."""


def commands() -> Iterator[tuple[str, str]]:
    """Where a command stands, and the command from `az` on, each once."""
    seen = set()
    for script, *arguments in DRY_RUNS:
        said = subprocess.run(  # noqa: S603 - our own scripts
            [AZURE / script, *arguments], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        ).stdout
        for line in said.splitlines():
            if found := re.match(
                r"    (?:\w+=\$\(|until this (?:succeeds|says \w+): |unless this succeeds: )?(az .*)", line
            ):
                command = found[1][:-1] if "$(az" in line else found[1]
                if command not in seen:
                    seen.add(command)
                    yield script, command
    for file in (AZURE / "README.md", *sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))):
        text = re.sub(r" *\\\n *", " ", file.read_text(encoding="utf-8"))
        for line in [*text.splitlines(), *re.findall(r"`(az [^`]*--[^`]+)`", text)]:
            if found := re.match(
                r"\s*(?:- )?(?:run: )?(?:sudo )?(?:\w+=\$\()?(az [a-z][^#|>]*?)(\)?)(?: [|>].*)?(?: #.*)?$", line
            ):
                command = re.sub(r"\$\{\{.*?\}\}|\$\w+|\$\{\w+\}", "VALUE", found[1])
                if command not in seen:
                    seen.add(command)
                    yield file.name, command


def refused(command: str) -> str:
    """What the CLI has against this command; empty: nothing."""
    from azure.cli.core import get_default_cli  # noqa: PLC0415 - the other half works without it
    from knack.events import EVENT_INVOKER_POST_PARSE_ARGS  # noqa: PLC0415

    def stop(*_: object, **__: object) -> None:
        raise Parsed

    cli = get_default_cli()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    words = [word.removeprefix("@") for word in shlex.split(command)[1:]]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            code = cli.invoke(words)
    except Parsed:
        return ""
    except SystemExit as stopped:
        code = stopped.code
    return f"exit code {code}: {said.getvalue().strip()[:300]}"


def fields(model: type) -> dict[str, Any]:
    """The names of a model's properties in JSON, each with its type as the SDK writes it; those of a flattened one nested."""
    found: dict[str, Any] = {}
    old = getattr(model, "_attribute_map", None)
    if old:
        for entry in old.values():
            at, *inner = entry["key"].replace("\\\\.", "\\.").split(".")
            if inner:
                nested = found.setdefault(at, {})
                if isinstance(nested, dict):
                    nested[".".join(inner)] = entry["type"]
            else:
                found[at] = entry["type"]
        return found
    for base in reversed(model.__mro__):
        for attribute, annotation in vars(base).get("__annotations__", {}).items():
            field = vars(base).get(attribute)
            if field is not None and hasattr(field, "_rest_name_input"):
                found[field._rest_name_input or attribute] = annotation
    return found


def inside(kind: Any, models: Any) -> list[type]:
    """The models and enumerations of this module that a type speaks of."""
    names = set(re.findall(r"\w+", kind if isinstance(kind, str) else str(kind)))
    names |= {word for part in get_args(kind) for word in re.findall(r"\w+", str(part))}
    return [found for name in sorted(names) if isinstance(found := getattr(models, name, None), type)]


def strange(value: Any, kind: Any, models: Any, names: set[str], path: str) -> Iterator[str]:
    """The places in a parsed value that the SDK does not know."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from strange(item, kind, models, names, f"{path}[{at}]")
    elif isinstance(value, dict) and "loop_type" in value:
        yield from strange(value["config"], kind, models, names, path)
    elif isinstance(value, dict) and not ({"operator", "function"} & set(value)):
        if isinstance(kind, dict):
            known = kind
        else:
            candidates = [model for model in inside(kind, models) if not issubclass(model, enum.Enum)]
            if not candidates or re.search(r"\bdict\[|^\{", str(kind)):
                return
            known = {key: of for model in candidates for key, of in fields(model).items()}
        for quoted, inner in value.items():
            key = quoted.strip("'")
            if key not in known:
                yield f"{path}.{key} is not known; there are {', '.join(sorted(known))}"
            else:
                yield from strange(inner, known[key], models, names, f"{path}.{key}")
    elif isinstance(value, str) and value not in names:
        for allowed in (found for found in inside(kind, models) if issubclass(found, enum.Enum)):
            values = {str(member.value) for member in allowed}
            if value not in values:
                yield f"{path}: {value!r} is none of {', '.join(sorted(values))}"


def bicep() -> Iterator[str]:
    """Says what it looks at, yields what is wrong."""
    from pycep import BicepParser  # noqa: PLC0415 - see refused

    for file in (AZURE / "main.bicep", *sorted((AZURE / "modules").glob("*.bicep"))):
        parsed = BicepParser().parse(text=file.read_text(encoding="utf-8"))
        names = {name for part in ("parameters", "variables", "resources", "modules") for name in parsed.get(part, {})}
        for symbol, resource in parsed.get("resources", {}).items():
            if resource["existing"]:
                continue
            where = f"{file.name}: {symbol}"
            if resource["type"] not in MODELS | WITHOUT_MODEL:
                yield f"{where}: which model is {resource['type']}?"
                continue
            package, name = MODELS.get(resource["type"], ("monitor", ""))
            module = importlib.import_module(f"azure.mgmt.{package}.models")
            body = resource["config"]
            body = body["config"] if {"loop_type", "condition"} & set(body) else body
            known = fields(getattr(module, name)) if name else WITHOUT_MODEL[resource["type"]]
            for key, value in body.items():
                if key not in known:
                    if key not in BICEP:
                        yield f"{where}.{key} is not known; there are {', '.join(sorted(known))}"
                else:
                    yield from strange(value, known[key], module, names, f"{where}.{key}")
            source = "\n".join(p.read_text() for p in Path(str(module.__file__)).parent.parent.glob("*.py"))
            versions = set(re.findall(r"api_version[^\n]*?\"(20[\d-]+(?:-preview)?)\"", source)) or {"of several"}
            other = "" if resource["api_version"] in versions else f" (the SDK's is {', '.join(sorted(versions))})"
            print(f"  {file.name}: {symbol}: {resource['type']}@{resource['api_version']}{other}")


def main() -> int:
    """Exit code: 1 if anything is wrong."""
    wrong = []
    print("Bicep: parsed, not compiled; properties against the SDKs' models")
    wrong += list(bicep())
    if "--bicep" in sys.argv:
        print(*wrong, sep="\n")
        return 1 if wrong else 0
    print("az commands, against the CLI's parser")
    for where, command in commands():
        problem = refused(command)
        print(f"  {'WRONG' if problem else 'ok':6}{where}: {command[:150]}")
        if problem:
            wrong.append(f"{where}: {command}\n    {problem}")
    for problem in wrong:
        print(f"wrong: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
