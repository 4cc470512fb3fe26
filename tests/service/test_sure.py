"""Work that begins while limits are being asked: its answer waits for the decision, and a refusal is a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.core.admission import Admit, Group
from gateway.core.limits import Limits, Rate
from gateway.core.policy import GrantRule, Policy
from gateway.routes.pipeline import _decided
from gateway.shell.admit import Admission
from shared.errors import DeadlineExceededError
from tests.service.gateway_alone import FakePod, Running, becomes_true, running
from tests.service.test_floods import Line, request
from tests.unit.gateway.test_limits_admit import ScriptedStore

TEN = Limits(calls=Rate(10, 3600, 10))


@asynccontextmanager
async def limited(folder: Path, pod: FakePod, store: ScriptedStore) -> AsyncIterator[Running]:
    """A gateway whose limits are counted in `store`, ten calls for everybody, and that knows the caller a."""
    policy = Policy(grants=(GrantRule(models=("*",), role="score"),), defaults=TEN)
    async with running(folder, pod, policy=policy) as gate:
        gate.gateway.pipeline.admission = gate.gateway.entry.admission = admission = Admission(store, trip_timeout_s=30)
        await admission.start()
        await becomes_true(lambda: gate.gateway.entry.index.models)
        line = await Line.to(gate)
        assert (await line.ask(request("a")))[0] == 200
        await line.close()
        yield gate
        await admission.aclose()


async def test_an_answer_waits_for_its_admission(tmp_path: Path) -> None:
    pod, store = FakePod(), ScriptedStore()
    async with limited(tmp_path, pod, store) as gate:
        store.gate.clear()
        line = await Line.to(gate)
        asked = asyncio.create_task(line.ask(request("a")))
        await becomes_true(lambda: len(pod.calls) == 2 and len(store.trips) == 2)
        await asyncio.sleep(0)
        assert not asked.done()
        store.gate.set()
        assert (await asked)[0] == 200
        await line.close()


async def test_who_is_refused_while_being_scored_is_answered_429_at_once(tmp_path: Path) -> None:
    pod, store = FakePod(takes_s=lambda *_: 0.5 if len(pod.calls) > 1 else 0.0), ScriptedStore()
    async with limited(tmp_path, pod, store) as gate:
        (key,) = {group.caller_key for trip in store.trips for group in trip}
        store.store.decide_now(Group(key, TEN, (Admit(rows=1, calls=9),)))  # by another process
        line = await Line.to(gate)
        status, headers, problem = await line.ask(request("a"))
        assert (status, problem["code"]) == (429, "rate_limited")
        assert int(headers["retry-after"]) > 0
        assert gate.gateway.pipeline.in_flight == 0
        await line.close()


async def test_a_decision_is_waited_for_until_the_deadline_and_no_longer() -> None:
    store = ScriptedStore()
    admission = Admission(store, trip_timeout_s=30)
    await admission.start()
    store.gate.clear()
    loop = asyncio.get_running_loop()
    with admission.ask("a", TEN, rows=1) as ticket, pytest.raises(DeadlineExceededError):
        await _decided(ticket, loop.time() + 0.01)
    store.gate.set()
    await admission.aclose()
