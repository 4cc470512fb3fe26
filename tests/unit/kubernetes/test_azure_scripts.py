"""k8s/azure: what the scripts would do, told without az; the app registration's change, decided without Graph."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from devkit.checks import shell_scripts
from devkit.state import ROOT
from tests.unit.kubernetes.azure_bicep import parameters_of

AZURE = ROOT / "k8s" / "azure"
APP_ID = "6d1d2b54-3f3c-4d6c-9d2c-0a4b4d3e2f10"


@pytest.fixture
def path_without_az(tmp_path: Path) -> str:
    """A PATH on which every tool that would change something says so and fails."""
    for name in ("az", "kubectl", "kubelogin", "helm", "openssl", "docker", "Rscript"):
        tool = tmp_path / name
        tool.write_text('#!/bin/sh\necho "$0 was run" >&2\nexit 99\n')
        tool.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def _run(path: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(AZURE / script), *arguments],
        env={"PATH": path, "HOME": "/nonexistent", "TMPDIR": path.split(":", maxsplit=1)[0]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def _dry(path: str, script: str, *arguments: str) -> str:
    done = _run(path, script, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing was run that is not there"
    return done.stdout


def test_a_dry_run_prints_every_step_in_order_and_runs_nothing(path_without_az: str) -> None:
    said = _dry(path_without_az, "deploy.sh")
    steps = re.findall(r"^Step (\d+) of (\d+): (\w+)", said, re.MULTILINE)
    listed = re.findall(r"^ +(\d+)  (\w+)  ", _run(path_without_az, "deploy.sh", "--help").stdout, re.MULTILINE)
    assert [(number, name) for number, _, name in steps] == listed
    assert [int(number) for number, _ in listed] == list(range(1, len(listed) + 1))
    assert {total for _, total, _ in steps} == {str(len(listed))}


def test_each_step_says_a_command(path_without_az: str) -> None:
    for step in re.split(r"^Step ", _dry(path_without_az, "deploy.sh"), flags=re.MULTILINE)[1:]:
        assert re.search(r"^    (\w+=\$\()?(az|kubectl|helm|\./dev) ", step, re.MULTILINE), step


def test_a_run_may_begin_later_or_be_one_step_alone(path_without_az: str) -> None:
    def numbers(*arguments: str) -> list[int]:
        return [
            int(n) for n in re.findall(r"^Step (\d+)", _dry(path_without_az, "deploy.sh", *arguments), re.MULTILINE)
        ]

    assert numbers("--from", "10") == [10, 11, 12]
    assert numbers("--only", "9", "--only", "11") == [9, 11]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--from", "13"], "no step 13"),
        (["--only", "0"], "no step 0"),
        (["--name", "Score-Gate"], "3 to 11 lower-case"),
        (["--name"], "needs a value"),
        (["--nonsense", "x"], "unknown option"),
        (["--environment", "medium"], "no environment medium"),
        (["--gateway-image", "x.azurecr.io/g:1"], "together"),
        (["--gateway-image", "x.azurecr.io/g:latest", "--scorer-image", "x.azurecr.io/s:1"], "not pinned"),
        (["--cert-issuer", "letsencrypt"], "letsencrypt-staging or"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_wrong(path_without_az: str, arguments: list[str], reason: str) -> None:
    done = _run(path_without_az, "deploy.sh", "--dry-run", *arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Step" not in done.stdout


def test_a_real_run_stops_at_the_first_thing_that_fails(path_without_az: str, tmp_path: Path) -> None:
    (tmp_path / "az").write_text('#!/bin/sh\ncase "$*" in "account show"*) echo 0000 ;; *) exit 1 ;; esac\n')
    done = _run(path_without_az, "deploy.sh", "--yes", "--subscription", "s", "--only", "2", "--only", "5")
    assert done.returncode != 0
    assert "Step 2" in done.stdout
    assert "Step 5" not in done.stdout


def test_no_secret_is_on_a_command_line_and_none_is_printed(path_without_az: str) -> None:
    said = _dry(path_without_az, "deploy.sh", "--github", "owner/name")
    assert not re.search(r"--(password|client-secret|account-key|sas-token|value)\b", said)
    assert "listKeys" not in said


def test_images_that_are_given_are_not_built(path_without_az: str) -> None:
    said = _dry(
        path_without_az, "deploy.sh", "--gateway-image", "r/g@sha256:aa", "--scorer-image", "r/s@sha256:bb",
        "--only", "7", "--only", "9",
    )  # fmt: skip
    assert "az acr" not in said
    assert "GATEWAY_IMAGE=r/g@sha256:aa" in said
    assert "SCORER_IMAGE=r/s@sha256:bb" in said


def test_bicep_is_given_only_parameters_it_has(path_without_az: str) -> None:
    (line,) = re.findall(r"az deployment group create .*", _dry(path_without_az, "deploy.sh"))
    given = set(re.findall(r"[ '](\w+)=", line))
    known = parameters_of(AZURE / "main.bicep")
    assert given <= set(known)
    assert {name for name, has_default in known.items() if not has_default} <= given
    for file in (AZURE / "environments").glob("*.json"):
        in_file = set(json.loads(file.read_text())["parameters"])
        assert in_file <= set(known)
        assert not in_file & given, "what deploy.sh says would win, unseen"


def test_the_values_of_the_overlay_are_those_deploy_writes(path_without_az: str) -> None:
    written = re.findall(r"^      ([A-Z_]+)=", _dry(path_without_az, "deploy.sh", "--only", "9"), re.MULTILINE)
    params = (ROOT / "k8s" / "overlays" / "aks" / "params.env").read_text()
    assert written == re.findall(r"^([A-Z_]+)=", params, re.MULTILINE)


def test_teardown_asks_before_it_deletes(path_without_az: str, tmp_path: Path) -> None:
    (tmp_path / "az").write_text('#!/bin/sh\ncase "$*" in *delete*) echo "$*" >>"${0%/*}/deleted" ;; esac\n')
    refused = _run(path_without_az, "teardown.sh")
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert not (tmp_path / "deleted").exists()
    assert _run(path_without_az, "teardown.sh", "--yes").returncode == 0
    assert "group delete --name rg-scoregate --yes" in (tmp_path / "deleted").read_text()


def test_the_apps_can_be_kept(path_without_az: str) -> None:
    assert "az ad app delete" in _dry(path_without_az, "teardown.sh")
    assert "az ad app" not in _dry(path_without_az, "teardown.sh", "--keep-apps")


def test_every_script_is_linted() -> None:
    scripts = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "k8s").rglob("*")
        if path.is_file() and path.read_bytes()[:2] == b"#!" and b"sh" in path.read_bytes().split(b"\n", 1)[0]
    }
    assert scripts
    assert scripts <= set(shell_scripts())


def _changes(application: dict[str, Any], *models: str) -> dict[str, Any]:
    done = subprocess.run(
        ["python3", str(AZURE / "app_body.py"), *models],
        input=json.dumps(application),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else {}


def test_a_new_registration_gets_roles_scope_uri_and_v2_tokens() -> None:
    body = _changes({"appId": APP_ID}, "boston-housing")
    assert [role["value"] for role in body["appRoles"]] == ["Models.Score.All", "Models.Score.boston-housing"]
    assert [scope["value"] for scope in body["api"]["oauth2PermissionScopes"]] == ["Models.Score"]
    assert body["api"]["requestedAccessTokenVersion"] == 2
    assert body["identifierUris"] == [f"api://{APP_ID}"]
    ids = [entry["id"] for entry in [*body["appRoles"], *body["api"]["oauth2PermissionScopes"]]]
    assert len({uuid.UUID(one) for one in ids}) == 3


def test_a_registration_that_is_as_it_should_be_is_left_alone() -> None:
    made = {"appId": APP_ID} | _changes({"appId": APP_ID}, "boston-housing")
    assert _changes(made, "boston-housing") == {}
    assert _changes(made) == {}, "a role that someone may hold is not taken away"


def test_a_further_model_keeps_what_is_there() -> None:
    theirs = {"id": str(uuid.uuid4()), "value": "Models.Score.iris-species", "isEnabled": False}
    made = {"appId": APP_ID} | _changes({"appId": APP_ID})
    made["appRoles"].append(theirs)
    made["api"]["preAuthorizedApplications"] = [{"appId": "x"}]
    made["api"]["requestedAccessTokenVersion"] = None
    body = _changes(made, "iris-species", "boston-housing")
    assert body["appRoles"][:-1] == made["appRoles"]
    assert body["appRoles"][-1]["value"] == "Models.Score.boston-housing"
    assert body["api"]["preAuthorizedApplications"] == [{"appId": "x"}]


def test_a_name_that_no_role_can_have_is_refused() -> None:
    done = subprocess.run(
        ["python3", str(AZURE / "app_body.py"), "a b"],
        input="{}",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "no model's name" in done.stderr


def _deployed(folder: Path) -> tuple[str, list[str]]:
    """Steps 1 to 11 with tools that remember: what was said, and the commands that changed something."""
    for name in ("az", "kubectl", "kubelogin", "helm", "openssl"):
        tool = folder / name
        tool.unlink(missing_ok=True)
        tool.symlink_to("fake.py")
    fake = (ROOT / "tests" / "unit" / "kubernetes" / "azure_fake.py").read_text().split("\n", 1)[1]
    (folder / "fake.py").write_text(f"#!{sys.executable} -SE\n{fake}")
    (folder / "fake.py").chmod(0o755)
    (folder / "calls").write_text("")
    done = _run(
        f"{folder}:{os.environ['PATH']}", "deploy.sh", "--yes", "--allow-address", "203.0.113.7", "--acme-email", "o@e.org",
        "--gateway-image", "r/g@sha256:aa", "--scorer-image", "r/s@sha256:bb", "--github", "owner/name",
        "--work", str(folder / "work"), *(word for n in range(1, 12) for word in ("--only", str(n))),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    changing = re.compile(r" (create|set|reset|PATCH|POST|genpkey)\b")
    return done.stdout, [call for call in (folder / "calls").read_text().splitlines() if changing.search(call)]


def test_a_second_run_makes_nothing_that_the_first_one_made(tmp_path: Path) -> None:
    _, first = _deployed(tmp_path)
    _, second = _deployed(tmp_path)
    made_once = ("ad app create", "ad sp create", "credential reset", "secret set", "genpkey", "PATCH", "POST")
    for command in made_once:
        assert any(command in call for call in first), command
        assert not any(command in call for call in second), command
    again = [call for call in second if "account set" not in call]
    assert [" ".join(call.split()[:4]) for call in again] == [
        "az group create --name",
        "az deployment group create",
        "az role assignment create",
        "az role assignment create",
    ], "each of these states what should be, and changes nothing that is so"


def test_a_run_writes_the_overlay_of_this_installation_beside_the_tracked_one(tmp_path: Path) -> None:
    tracked = (ROOT / "k8s" / "overlays" / "aks" / "params.env").read_text()
    _, _ = _deployed(tmp_path)
    written = dict(
        line.split("=", 1) for line in (tmp_path / "work/k8s/overlays/aks/params.env").read_text().splitlines()
    )
    assert written["GATEWAY_CLIENT_ID"] == "gatewayClientId"
    assert written["SCORER_IMAGE"] == "r/s@sha256:bb"
    assert written["AUDIENCES"] == "api://scoregate-API,scoregate-API"
    assert written["HOST"] == written["DNS_LABEL"] + ".westeurope.cloudapp.azure.com"
    assert all(written.values())
    assert (ROOT / "k8s" / "overlays" / "aks" / "params.env").read_text() == tracked
    applied = [call for call in (tmp_path / "calls").read_text().splitlines() if " apply -k " in call]
    own = tmp_path / "work"
    assert applied == [f"kubectl --kubeconfig {own / 'kubeconfig'} apply -k {own / 'k8s' / 'overlays' / 'aks'}"]
    assert not list(tmp_path.rglob("*.pem")), "no key is left behind"
