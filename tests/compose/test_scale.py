"""Three scorers behind one name: all of them work, one that is killed costs nobody an answer, neither does Redis."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from client.openloop import Gun, Report, Shot
from devkit.examples import REFERENCE, rows_to_send
from tests.compose.containers import READY_WITHIN_S, Containers
from tests.support import eventually

CALLERS = 12


@pytest.fixture(scope="module")
def shots(containers: Containers) -> list[Shot]:
    """One request for each row of the reference model's example, with R's answer."""
    manifest = json.loads(containers.once("scoregate-examples", "cat", f"/store/models/{REFERENCE}/1/manifest.json"))
    answers = manifest["example"]["outputs"]["prediction"]

    def shot(row: dict[str, object], answer: float) -> Shot:
        def wrong(status: int, body: bytes) -> str | None:
            if status != 200:
                return f"{status} {body[:300].decode()}"
            return None if json.loads(body)["predictions"] == [answer] else f"another answer: {body.decode()}"

        return Shot(f"/v1/models/{REFERENCE}/score", json.dumps({"rows": [row]}).encode(), wrong)

    return [shot(row, answer) for row, answer in zip(rows_to_send(manifest), answers, strict=True)]


@pytest.fixture(scope="module")
def three(containers: Containers) -> list[str]:
    """Names of three scorers, all ready and known to the gateway."""
    containers.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "scorer=3")
    names = containers.names("scorer")
    assert len(names) == 3
    containers.until_healthy("scorer")
    return names


def gun(containers: Containers) -> Gun:
    headers = {"Authorization": f"Bearer {containers.token}", "Content-Type": "application/json"}
    return Gun(containers.url, headers)


async def flood(containers: Containers, shots: list[Shot], seconds: float) -> Report:
    async with gun(containers) as one:
        return await one.flood(shots, callers=CALLERS, seconds=seconds)


def scored(containers: Containers, name: str) -> float:
    return containers.metric(name, 9091, "scorer_requests_total", 'code="ok"')


def test_three_scorers_share_the_load(containers: Containers, three: list[str], shots: list[Shot]) -> None:
    def everyone_works() -> bool:
        before = {name: scored(containers, name) for name in three}
        report = asyncio.run(flood(containers, shots, 2))
        assert report.failures == {}
        return all(scored(containers, name) > before[name] for name in three)

    # The gateway finds the new ones at its next look at the name.
    eventually(everyone_works, within_s=30, what="all three have scored")


async def test_a_scorer_killed_under_load_loses_no_request(
    containers: Containers, three: list[str], shots: list[Shot]
) -> None:
    before = scored(containers, three[0])
    async with gun(containers) as one:
        load = asyncio.create_task(one.fire(shots, rate_per_s=40, seconds=8))
        await asyncio.to_thread(
            lambda: eventually(lambda: scored(containers, three[0]) > before, what="the one to be killed has scored")
        )
        await asyncio.to_thread(containers.engine, "kill", "--signal", "KILL", three[0])
        report = await load
    print(report.figures())
    assert report.failures == {}
    assert report.right == 320
    containers.engine("start", three[0], check=False)  # if it was not started again already
    containers.until_healthy("scorer")
    assert containers.names("scorer") == three


async def test_redis_killed_and_back_is_no_5xx(containers: Containers, shots: list[Shot]) -> None:
    gateway, redis = containers.name("gateway"), containers.name("redis")

    def shared(yes: bool) -> bool:
        return containers.metric(gateway, 9090, "scoregate_limiter_shared") == float(yes)

    eventually(lambda: shared(True), what="limits are shared")
    stop = asyncio.Event()
    async with gun(containers) as one:
        load = asyncio.create_task(one.fire(shots, rate_per_s=40, seconds=60, stop=stop))
        await asyncio.to_thread(containers.engine, "stop", "--time", "0", redis)
        await asyncio.to_thread(lambda: eventually(lambda: shared(False), every_s=0.2, what="counts alone"))
        await asyncio.to_thread(containers.engine, "start", redis)
        await asyncio.to_thread(
            lambda: eventually(lambda: shared(True), within_s=READY_WITHIN_S, every_s=0.2, what="shared again")
        )
        stop.set()
        report = await load
    print(report.figures())
    assert report.failures == {}


def test_who_has_no_token_is_refused_all_the_same(containers: Containers) -> None:
    answer = httpx.get(f"{containers.url}/v1/models", trust_env=False)
    assert answer.status_code == 401
