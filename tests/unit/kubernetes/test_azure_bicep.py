"""k8s/azure/*.bicep as far as text can tell; they are parsed and checked against Azure's models by k8s/azure/verify.py."""

from __future__ import annotations

import re

from devkit.state import ROOT
from tests.unit.kubernetes.azure_bicep import modules_of, outputs_of, parameters_of

AZURE = ROOT / "k8s" / "azure"
MAIN = AZURE / "main.bicep"
FILES = [MAIN, *sorted((AZURE / "modules").glob("*.bicep"))]


def test_each_module_is_used_and_given_exactly_what_it_takes() -> None:
    modules = modules_of(MAIN)
    assert {path.name for path, _ in modules.values()} == {path.name for path in (AZURE / "modules").iterdir()}
    for path, arguments in modules.values():
        assert set(arguments) == set(parameters_of(path)), path.name


def test_every_output_that_is_asked_for_is_there() -> None:
    modules = modules_of(MAIN)
    for symbol, output in re.findall(r"\b(\w+)\.outputs\.(\w+)", MAIN.read_text()):
        assert output in outputs_of(modules[symbol][0]), f"{symbol}.outputs.{output}"


def test_every_parameter_is_described_and_used() -> None:
    for file in FILES:
        text = file.read_text()
        described = re.findall(r"^@description\('[^\n]{4,}'\)\n(?:@[^\n]+\n)*param (\w+)", text, re.MULTILINE)
        assert set(described) == set(parameters_of(file)), file.name
        for name in described:
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{file.name}: {name} is not used"


def test_deploy_asks_only_for_outputs_that_are_there() -> None:
    script = (AZURE / "deploy.sh").read_text()
    asked = set(re.findall(r"^ +output (\w+)$", script, re.MULTILINE))
    asked |= set(" ".join(re.findall(r"for one in ([\w ]+); do output", script)).split())
    assert asked
    assert asked <= outputs_of(MAIN)


def test_nothing_is_keyed_open_or_in_the_clear() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    for line in (
        "allowSharedKeyAccess: false",
        "allowBlobPublicAccess: false",
        "supportsHttpsTrafficOnly: true",
        "accessKeysAuthentication: 'Disabled'",
        "clientProtocol: 'Encrypted'",
        "adminUserEnabled: false",
        "disableLocalAccounts: true",
        "enableRbacAuthorization: true",
        "enablePurgeProtection: true",
    ):
        assert text.count(line) == 1, line
    assert "defaultAction: 'Allow'" not in text
    assert not re.search(r"list(Keys|Credentials|Secrets)\b|@secure", text)


def test_every_skipped_check_has_a_reason() -> None:
    for file in FILES:
        for reason in re.findall(r"checkov:skip=[A-Z0-9_]+(.*)", file.read_text()):
            assert re.fullmatch(r":\S.{20,}", reason), f"{file.name}: {reason}"


def test_the_names_of_vault_and_registry_are_the_ones_deploy_expects() -> None:
    arguments = {symbol: given["name"] for symbol, (_, given) in modules_of(MAIN).items() if "name" in given}
    assert arguments["vault"] == arguments["redis"] == "'${name}-${suffix}'"
    assert arguments["registry"] == arguments["storage"] == "'${name}${suffix}'"
    script = (AZURE / "deploy.sh").read_text()
    for line in ("vault=$name-$suffix", "registry=$name$suffix", "store=$name$suffix"):
        assert line in script
