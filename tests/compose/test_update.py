"""Rolling updates: two containers behind a name, one replaced at a time, under load; then everything goes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.examples import REFERENCE, rows_to_send
from devkit.state import ROOT
from tests.compose.containers import Containers, compose_command
from tests.compose.test_scale import gun, shots
from tests.support import eventually

__all__ = ["shots"]
BEGUN, STOP = "/tmp/load-begun", "/tmp/stop-load"
LOAD = Path(__file__).with_name("rolling_load.py")


@pytest.fixture
def second_gateway(containers: Containers, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Options that add a second gateway behind the first one's name, unpublished: compose.yaml's own but for that."""
    document = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service = document["services"]["gateway"]
    for key in ("ports", "build", "depends_on"):
        del service[key]
    service["networks"] = {"outside": {"aliases": ["gateway"]}, "inside": {}}
    file = tmp_path / "second.yaml"
    file.write_text(yaml.safe_dump({"services": {"gateway-2": service}}))
    files = ("-f", str(ROOT / "compose.yaml"), "-f", str(file))
    containers.compose(*files, "up", "--detach", "--no-deps", "gateway-2")
    containers.until_healthy("gateway-2")
    yield files
    containers.engine("rm", "--force", *containers.names("gateway-2"))


@contextmanager
def load_from_outside(containers: Containers) -> Iterator[dict[str, Any]]:
    """Calls the name `gateway` from a container of its network; the report is in what this gives, afterwards.

    Begins when all callers have had an answer: finding the name alone takes a container's resolver ten seconds now and then.
    """
    manifest = json.loads(containers.once("scoregate-examples", "cat", f"/store/models/{REFERENCE}/1/manifest.json"))
    call = {
        "host": "gateway",
        "port": 8080,
        "path": f"/v1/models/{REFERENCE}/score",
        "headers": {"Authorization": f"Bearer {containers.token}", "Content-Type": "application/json"},
        "body": json.dumps({"rows": rows_to_send(manifest)[:1]}),
        "expected": manifest["example"]["outputs"]["prediction"][:1],
        "callers": 4,
        "begun": BEGUN,
        "stop": STOP,
        "most_s": 120,
    }
    argv = [*compose_command(), "exec", "-T", "entra", "python3", "-c", LOAD.read_text(encoding="utf-8")]
    pipe = subprocess.PIPE
    report: dict[str, Any] = {}
    with subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        json.dump(call, process.stdin)
        process.stdin.close()
        process.stdin = None
        try:
            name = Path(BEGUN).name
            eventually(
                lambda: name in containers.execute(containers.name("entra"), "ls", "/tmp").split(),
                within_s=60,
                every_s=0.5,
                what="each caller has had an answer",
            )
            yield report
        finally:
            containers.execute(containers.name("entra"), "touch", STOP)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    report.update(json.loads(out))


def replace(containers: Containers, name: str, service: str, *files: str, scale: tuple[str, ...] = ()) -> None:
    """Stop one in order, remove it, and let compose make what is missing; until it is ready."""
    containers.engine("stop", "--time", "40", name)
    containers.engine("rm", name)
    containers.compose(*files, "up", "--detach", "--no-deps", "--no-recreate", *scale, service)
    containers.until_healthy(service)


def test_gateways_are_replaced_one_at_a_time_without_a_failed_request(
    containers: Containers, second_gateway: tuple[str, ...]
) -> None:
    before = {name: containers.inspect(name)["Id"] for s in ("gateway", "gateway-2") for name in containers.names(s)}
    with load_from_outside(containers) as report:
        for service in ("gateway", "gateway-2"):
            replace(containers, containers.name(service), service, *second_gateway)
    after = {name: containers.inspect(name)["Id"] for s in ("gateway", "gateway-2") for name in containers.names(s)}
    print(report)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before), "each is another container"
    assert report["failures"] == {}
    assert len(report["right"]) >= 2, "both served"
    assert sum(report["right"].values()) > 200


async def test_scorers_are_replaced_one_at_a_time_without_a_failed_request(
    containers: Containers, shots: list[Any]
) -> None:
    containers.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "scorer=2")
    names = containers.names("scorer")[:2]
    containers.until_healthy("scorer")
    before = {name: containers.inspect(name)["Id"] for name in names}
    stop = asyncio.Event()
    async with gun(containers) as one:
        load = asyncio.create_task(one.fire(shots, rate_per_s=25, seconds=120, stop=stop))
        try:
            for name in names:
                await asyncio.to_thread(replace, containers, name, "scorer", scale=("--scale", "scorer=2"))
        finally:
            stop.set()
            report = await load
    print(report.figures())
    after = {name: containers.inspect(name)["Id"] for name in names}
    assert all(before[name] != after[name] for name in names), "each is another container"
    assert report.failures == {}


def test_down_leaves_nothing(containers: Containers) -> None:
    assert all(containers.left().values()), "there is something to leave"
    containers.down()
    assert containers.left() == {"containers": [], "networks": [], "volumes": []}
    eventually(lambda: containers.left()["containers"] == [])
