"""Redis is lost in the middle of load, killed or hung, and comes back: nothing fails, and limits stay on."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.core.limits import Limits, Rate
from gateway.shell.admit import Admission, Unobserved
from gateway.shell.limits_redis import RedisCounterStore
from shared.errors import TooManyRequestsError
from tests.service.limits_servers import RedisServer, needs_redis, running
from tests.support import eventually

pytestmark = needs_redis
PLENTY = Limits(calls=Rate(10**6, 1, 10**6), concurrent=1000)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    cluster = getattr(request, "param", "single") == "cluster"
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder), cluster=cluster) as server:
        yield server


each_kind = pytest.mark.parametrize("server", ["single", "cluster"], indirect=True)


@dataclass
class Changes(Unobserved):
    """Records when limits were shared and when not."""

    seen: list[bool] = field(default_factory=list)

    def shared(self, up: bool) -> None:
        self.seen.append(up)


@asynccontextmanager
async def admission(server: RedisServer, changes: Changes | None = None) -> AsyncIterator[Admission]:
    # Long enough for a machine that runs other tests too: a timeout is only one of the ways to be away.
    one = Admission(RedisCounterStore(server.url), observer=changes, trip_timeout_s=1.0)
    await one.start()
    try:
        yield one
    finally:
        await one.aclose()


@dataclass
class Load:
    """Eight clients that call one after the other, each call a caller of its own, until `stop`."""

    admission: Admission
    admitted: int = 0
    slowest_s: float = 0.0
    failures: list[BaseException] = field(default_factory=list)

    async def __aenter__(self) -> Load:
        self._going = True
        self._clients = [asyncio.create_task(self._client(n)) for n in range(8)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._going = False
        await asyncio.gather(*self._clients)

    async def _client(self, number: int) -> None:
        while self._going:
            started = time.monotonic()
            try:
                with await self.admission.admit(f"t/{number}", PLENTY, rows=1, lease_ms=1000):
                    self.admitted += 1
            except BaseException as error:
                self.failures.append(error)
                raise
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
            await asyncio.sleep(0)

    async def more(self, count: int = 200) -> None:
        """Returns after so many more calls."""
        goal = self.admitted + count
        await until(lambda: self.admitted >= goal or bool(self.failures))


async def until(fact: object) -> None:
    await asyncio.to_thread(eventually, fact)


@each_kind
async def test_redis_killed_and_restarted_under_load(server: RedisServer) -> None:
    changes = Changes()
    with capture_logs() as logs:
        async with admission(server, changes) as one, Load(one) as load:
            await load.more()
            await asyncio.to_thread(server.kill)
            await until(lambda: not one.shared.up)
            await load.more()
            await asyncio.to_thread(server.start)
            await until(lambda: one.shared.up)
            await load.more()
    assert load.failures == []
    assert changes.seen == [True, False, True]
    assert [entry["event"] for entry in logs] == ["gateway.limits.local", "gateway.limits.shared"]


@each_kind
async def test_redis_hung_costs_its_timeout_once_and_not_per_request(server: RedisServer) -> None:
    changes = Changes()
    async with admission(server, changes) as one:
        async with Load(one) as load:
            await load.more()
        server.freeze()
        started = time.monotonic()
        await asyncio.gather(*(one.admit(f"t/{n}", PLENTY, rows=1) for n in range(50)))
        assert 1.0 <= time.monotonic() - started < 2.0
        for _ in range(50):
            later = one.admit("t/later", PLENTY, rows=1)
            with pytest.raises(StopIteration):  # it never gives up the event loop, so it waits for nothing
                later.send(None)
        server.thaw()
        await until(lambda: one.shared.up)
        async with Load(one) as load:
            await load.more()
    assert load.failures == []
    assert changes.seen == [True, False, True]


@each_kind
async def test_limits_stay_on_while_redis_is_away_and_after(server: RedisServer) -> None:
    limits = Limits(calls=Rate(10, 3600, 10))

    async def admitted(one: Admission, count: int) -> int:
        results = await asyncio.gather(
            *(one.admit("t/a", limits, rows=1) for _ in range(count)), return_exceptions=True
        )
        assert all(not isinstance(r, BaseException) or isinstance(r, TooManyRequestsError) for r in results)
        return sum(not isinstance(r, BaseException) for r in results)

    async with admission(server) as one, admission(server) as other:
        assert await admitted(one, 4) == 4
        await asyncio.to_thread(server.kill)
        # `one` goes on from what it knew, `other` never heard of this caller: each holds the full limit.
        assert await admitted(one, 20) == 6
        assert await admitted(other, 20) == 10
        await asyncio.to_thread(server.start)
        await until(lambda: one.shared.up and other.shared.up)
        # Redis saved nothing, so it starts afresh, for both together.
        assert await admitted(one, 8) + await admitted(other, 8) == 10


@each_kind
async def test_a_gateway_that_starts_without_redis_serves_and_finds_it_later(server: RedisServer) -> None:
    server.kill()
    async with admission(server) as one:
        assert not one.shared.up
        await one.admit("t/a", PLENTY, rows=1)
        await asyncio.to_thread(server.start)
        await until(lambda: one.shared.up)


async def test_an_idle_gateway_notices_that_redis_is_gone(server: RedisServer) -> None:
    one = Admission(RedisCounterStore(server.url), idle_s=0.05)
    await one.start()
    assert one.shared.up
    await asyncio.to_thread(server.kill)
    await until(lambda: not one.shared.up)
    await one.aclose()


async def test_a_redis_that_takes_no_writes_is_away(server: RedisServer) -> None:
    async with admission(server) as one:
        server.cli("REPLICAOF", "127.0.0.1", "1")
        await one.admit("t/a", PLENTY, rows=1)
        assert not one.shared.up
        server.cli("REPLICAOF", "NO", "ONE")
        await until(lambda: one.shared.up)


async def test_places_held_by_a_lost_gateway_are_free_at_their_deadline(server: RedisServer) -> None:
    limits = Limits(concurrent=1)
    async with admission(server) as lost, admission(server) as other:
        await lost.admit("t/a", limits, rows=1, lease_ms=1500)  # and it never comes back to release
        with pytest.raises(TooManyRequestsError) as refused:
            await other.admit("t/a", limits, rows=1, lease_ms=1500)
        assert refused.value.retry_after_ms is not None
        assert refused.value.retry_after_ms <= 1500
        await asyncio.sleep(refused.value.retry_after_ms / 1000)
        await other.admit("t/a", limits, rows=1, lease_ms=1500)


async def test_a_place_released_in_one_gateway_is_free_in_the_other(server: RedisServer) -> None:
    limits = Limits(concurrent=1)
    async with admission(server) as one, admission(server) as other:
        ticket = await one.admit("t/a", limits, rows=1, lease_ms=60_000)
        with pytest.raises(TooManyRequestsError):
            one.precheck("t/a", limits)
        other.precheck("t/a", limits)  # knows nothing of it, so passes
        with pytest.raises(TooManyRequestsError):
            await other.admit("t/a", limits, rows=1, lease_ms=60_000)
        ticket.release()
        ticket.release()
        one.precheck("t/a", limits)
        await one.admit("t/b", limits, rows=1)  # whose trip comes after the release
        with await other.admit("t/a", limits, rows=1, lease_ms=60_000):
            pass


@each_kind
@pytest.mark.parametrize("what", ["asked", "returned", "ended meanwhile"])
async def test_a_place_whose_end_redis_could_not_be_told_in_time_is_given_back(server: RedisServer, what: str) -> None:
    limits = Limits(concurrent=1)
    async with admission(server) as one, admission(server) as other:
        await one.admit("t/b", limits, rows=1)  # the way to Redis is open
        if what != "asked":
            ticket = await one.admit("t/a", limits, rows=1, lease_ms=60_000)
            server.freeze()
        else:
            server.freeze()
            ticket = await one.admit(
                "t/a", limits, rows=1, lease_ms=60_000
            )  # from memory; the trip is in Redis' socket
        if what == "ended meanwhile":
            await one.admit("t/b", limits, rows=1)  # finds Redis away
        ticket.release()
        await until(lambda: not one.shared.up)
        server.thaw()
        await until(lambda: one.shared.up and other.shared.up)
        async with asyncio.timeout(5):
            while True:
                try:
                    await other.admit("t/a", limits, rows=1, lease_ms=60_000)
                    break
                except TooManyRequestsError:
                    await asyncio.sleep(0)
