"""How a service leaves: nobody who calls it meanwhile is cut off, and gateways hear from a scorer that it goes."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from aiohttp import web
from joserfc.jwk import OKPKey

from gateway.shell.pods import PodClient
from shared import serving
from shared.catalogue import Catalogue, VersionEntry
from tests.service.fake_gateway import ADDER
from tests.service.gateway_process import gateways
from tests.service.scorer_models import DOUBLE
from tests.service.scorer_pod import scorer
from tests.support import eventually

#: In the kernel's queue: connected, with their requests sent.
QUEUED = 40
REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
Start = Callable[..., tuple["subprocess.Popen[str]", str, str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A gateway that serves, with its two addresses; settings as keywords."""
    with gateways(tmp_path) as begin:

        def start(**changes: str) -> tuple[subprocess.Popen[str], str, str]:
            process = begin(**changes)
            assert process.stdout is not None
            listening = json.loads(process.stdout.readline())
            return process, listening["url"], listening["internal_url"]

        yield start


def unready(internal_url: str) -> bool:
    return "draining" in httpx.get(f"{internal_url}/readyz", trust_env=False).text


def test_after_sigterm_every_answer_says_close_and_new_connections_are_still_served(start: Start) -> None:
    process, url, internal_url = start(GATEWAY_DRAIN_DELAY_S="60")
    kept = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    kept.request("GET", "/v1/models")
    answer = kept.getresponse()
    assert (answer.status, answer.read() != b"", answer.will_close) == (401, True, False)
    process.send_signal(signal.SIGTERM)
    eventually(lambda: unready(internal_url), what="unready")
    for connection in (kept, http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)):
        connection.request("GET", "/v1/models")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (401, "close")
        answer.read()
        assert answer.will_close


async def test_connections_that_wait_to_be_accepted_when_the_port_closes_are_answered() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    port = serving.listen("127.0.0.1", 0)
    server = serving._server(app, 5)
    running = asyncio.create_task(server.serve(sockets=[port]))
    await asyncio.to_thread(eventually, lambda: server.started)
    # Without a pause for the event loop: the kernel has taken all of these, the server none.
    waiting = [socket.create_connection(port.getsockname(), 10) for _ in range(QUEUED)]
    for connection in waiting:
        connection.sendall(REQUEST)
    stopping = asyncio.create_task(server.shutdown([port]))
    for connection in waiting:
        with connection:
            assert (await asyncio.to_thread(connection.recv, 100)).startswith(b"HTTP/1.1 204 "), "not an answer"
    await stopping
    server.should_exit = True
    await running


def test_a_scorer_told_to_go_says_so_in_its_catalogue_and_serves_meanwhile(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, drain_delay_s=60) as pod:
        pod.ready()

        def catalogue() -> httpx.Response:
            return pod.http.get(f"{pod.url}/internal/catalogue", headers=pod.headers)

        before = catalogue()
        assert before.json()["draining"] is False
        pod.process.send_signal(signal.SIGTERM)
        eventually(lambda: catalogue().json()["draining"], what="it says so")
        assert catalogue().headers["etag"] != before.headers["etag"]
        assert pod.predict(DOUBLE, x=[2.0]) == [4.0]


ENTRY = VersionEntry(model="m", version="1", state="ready", digest="d", signature=ADDER)


class Pods:
    """Scorers that only have a catalogue: each says whether it drains, or says nothing while it is among the `silent`."""

    def __init__(self) -> None:
        self.draining: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.urls: dict[str, str] = {}
        self._speak = asyncio.Event()

    async def serving(self, client: PodClient) -> set[str]:
        """Whom the gateway has for the model after a look at each."""
        client._look_at(client.pods.by_address.keys())
        await asyncio.gather(*client._looks.values())
        return self.known(client)

    def known(self, client: PodClient) -> set[str]:
        """Whom the gateway has for it now."""
        return {name for name, url in self.urls.items() if url in client.index.find("m").pods}

    async def catalogue(self, name: str) -> web.Response:
        self.asked.append(name)
        if name in self.silent:
            await self._speak.wait()
        told = Catalogue(pod=name, workers=1, versions=(ENTRY,), draining=name in self.draining)
        return web.Response(body=msgspec.json.encode(told))

    @asynccontextmanager
    async def seen(self, *names: str, poll_s: float = 3600) -> AsyncIterator[PodClient]:
        """A gateway's client of these."""
        runners = []
        for name in names:

            async def catalogue(_: web.Request, name: str = name) -> web.Response:
                return await self.catalogue(name)

            app = web.Application()
            app.router.add_get("/internal/catalogue", catalogue)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            runners.append(runner)
            self.urls[name] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        key = OKPKey.generate_key("Ed25519", private=True)
        client = PodClient(list(self.urls.values()), key, name="test", poll_s=poll_s, on_change=lambda: None)
        await client.start()
        try:
            yield client
        finally:
            await client.close()
            self._speak.set()
            for runner in runners:
                await runner.cleanup()


async def test_a_gateway_asks_a_pod_that_drains_only_while_there_is_no_other() -> None:
    pods = Pods()
    async with pods.seen("a", "b") as client:
        assert await pods.serving(client) == {"a", "b"}
        pods.draining = {"a"}
        assert await pods.serving(client) == {"b"}
        pods.draining = {"a", "b"}
        assert await pods.serving(client), "the last one is asked for as long as it answers"
        pods.draining = {"b"}
        assert await pods.serving(client) == {"a"}


async def test_what_a_pod_says_is_known_at_once_however_long_another_says_nothing() -> None:
    pods = Pods()
    async with pods.seen("a", "b", poll_s=0.005) as client:
        assert pods.known(client) == {"a", "b"}
        pods.silent = {"b"}
        pods.asked.clear()
        await asyncio.to_thread(eventually, lambda: "b" in pods.asked, what="the silent one is asked")
        pods.draining = {"a"}
        await asyncio.to_thread(eventually, lambda: pods.known(client) == {"b"}, within_s=4, what="a is known to drain")
        assert pods.asked.count("b") == 1, "it is asked again only when it has answered, or has had its 5 s"
