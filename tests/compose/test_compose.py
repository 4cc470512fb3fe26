"""`docker compose up` as a user meets it: tokens, answers, what is published and what is not."""

from __future__ import annotations

import json
import re
import shlex
import struct
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from devkit.state import ROOT
from tests.compose.containers import Containers, compose_command
from tests.stack.test_readme import README, blocks, shown

MODELS = ("boston-housing", "cars-interval", "credit-default", "iris-species")
R_IMAGE = "scoregate-examples"
INDEPENDENT = ROOT / "tests" / "stack" / "independent.R"
PUBLISHED = {"gateway", "entra"}
SERVICES = ("gateway", "scorer", "redis", "entra", "azurite")


def _in_r(containers: Containers, mode: str, model: str, file: str, *options: str) -> str:
    """R's own answer, from the model that the image has, in a container that knows nothing of the services."""
    manifest = json.loads(containers.once(R_IMAGE, "cat", f"/store/models/{model}/1/manifest.json"))
    rds = f"/store/blobs/sha256/{manifest['files']['model.rds']['sha256']}"
    script = ("--volume", f"{INDEPENDENT}:/independent.R:ro", *options)
    return containers.once(
        R_IMAGE, "Rscript", "--vanilla", "/independent.R", mode, model, rds, file, options=script
    ).strip()


def _bits(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return struct.pack(">d", float(value)).hex()
    return value


@pytest.mark.parametrize("model", MODELS)
def test_answers_are_identical_to_r(containers: Containers, http: httpx.Client, model: str, tmp_path: Path) -> None:
    columns = json.loads(_in_r(containers, "rows", model, "/dev/stdout"))
    answer = http.post(f"/v1/models/{model}/score", json={"columns": columns})
    assert answer.status_code == 200, answer.text
    got = answer.json()["predictions"]
    if isinstance(got[0], dict):
        received = {name: [_bits(row[name]) for row in got] for name in got[0]}
    else:
        received = {"prediction": [_bits(value) for value in got]}
    file = tmp_path / "got.json"
    file.write_text(json.dumps(received))
    file.chmod(0o644)
    said = _in_r(containers, "identical", model, "/got.json", "--volume", f"{file}:/got.json:ro")
    assert said == f"identical {len(got)} rows"


def test_the_readmes_curl_has_the_readmes_reply(containers: Containers) -> None:
    command, reply = shown(README, "curl ")
    (token,) = {
        line
        for language, text in blocks(README)
        for line in text.splitlines()
        if line.startswith("docker compose exec")
    }
    typed = command.replace("./dev token", token).replace("http://127.0.0.1:8080/", f"{containers.url}/")
    typed = typed.replace("docker compose", shlex.join(compose_command()))
    done = subprocess.run(["sh", "-c", typed], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == reply, done.stderr


def test_only_the_gateway_and_the_stand_in_are_published_and_only_on_loopback(containers: Containers) -> None:
    for service in SERVICES:
        bindings = containers.inspect(containers.name(service))["NetworkSettings"]["Ports"] or {}
        published = {binding["HostIp"] for one in bindings.values() for binding in one or ()}
        assert published == ({"127.0.0.1"} if service in PUBLISHED else set()), service


_PROBE = """
import socket, sys
for name in ("scorer", "redis", "azurite"):
    try:
        print("resolved", name, socket.getaddrinfo(name, 80)[0][4])
    except OSError:
        pass
for address in sys.argv[1:]:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 2)
        print("reached", address)
    except OSError:
        pass
print("looked")
"""


def test_who_is_outside_the_internal_network_neither_resolves_nor_reaches_the_scorer_or_redis(
    containers: Containers,
) -> None:
    resolve = "import socket, sys; print(*(socket.gethostbyname(name) for name in sys.argv[1:]))"
    gateway, outsider = containers.name("gateway"), containers.name("entra")
    scorer, redis = containers.execute(gateway, "python3", "-c", resolve, "scorer", "redis").split()
    addresses = [f"{scorer}:8081", f"{scorer}:9091", f"{redis}:6379"]
    inside = containers.execute(gateway, "python3", "-c", _PROBE, *addresses)
    assert re.findall(r"^reached (\S+)", inside, re.MULTILINE) == addresses, "the probe can tell"
    assert containers.execute(outsider, "python3", "-c", _PROBE, *addresses) == "looked\n"


def test_the_scorer_reaches_nothing_but_the_internal_network(containers: Containers) -> None:
    routes = containers.execute(containers.name("scorer"), "cat", "/proc/net/route")
    assert all(line.split()[1] != "00000000" for line in routes.splitlines()[1:]), "a default route"


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_runs_without_root_on_a_read_only_file_system_within_limits(
    containers: Containers, service: str
) -> None:
    name = containers.name(service)
    status = containers.execute(name, "cat", "/proc/1/status")
    (uids,) = re.findall(r"^Uid:\s+(.*)$", status, re.MULTILINE)
    (capabilities,) = re.findall(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
    (no_new_privileges,) = re.findall(r"^NoNewPrivs:\s+(\d)$", status, re.MULTILINE)
    assert "0" not in uids.split()
    assert (int(capabilities, 16), no_new_privileges) == (0, "1")
    (root,) = [line.split() for line in containers.execute(name, "cat", "/proc/mounts").splitlines() if " / " in line]
    assert "ro" in root[3].split(",")
    host = containers.inspect(name)["HostConfig"]
    assert host["Memory"] > 0
    assert host.get("NanoCpus") or host.get("CpuQuota")
