"""One project of compose.yaml's containers for all of these tests."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from devkit.examples import names
from tests.compose.containers import BUILT_WITHIN_S, READY_WITHIN_S, Containers
from tests.support import eventually


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first of these to run builds the images."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILT_WITHIN_S + 2 * READY_WITHIN_S))


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """Built and started; gone at the end, whatever happened. Shows the logs where it does not come up."""
    gateway_port, entra_port = _free_ports(2)
    project = os.environ.get("COMPOSE_PROJECT_NAME") or f"scoregate-t{uuid.uuid4().hex[:6]}"
    running = Containers(project, gateway_port, entra_port)
    try:
        running.up()
        try:
            running.until_healthy("entra", "redis", "scorer", "gateway")
            eventually(
                lambda: _serves_everything(running),
                within_s=READY_WITHIN_S,
                every_s=0.5,
                what="every example is served",
            )
        except AssertionError:
            print(running.compose("logs", "--tail", "40"))
            raise
        yield running
    finally:
        running.down()


@pytest.fixture
def http(containers: Containers) -> Iterator[httpx.Client]:
    """To the gateway, on its published port, with a token."""
    headers = {"Authorization": f"Bearer {containers.token}"}
    with httpx.Client(base_url=containers.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def _serves_everything(running: Containers) -> bool:
    headers = {"Authorization": f"Bearer {running.token}"}
    listed = httpx.get(f"{running.url}/v1/models", headers=headers, trust_env=False)
    assert listed.status_code == 200, listed.text
    models = json.loads(listed.text)["models"]
    return {model["model"] for model in models if model["state"] == "ready"} == set(names())
