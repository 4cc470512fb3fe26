"""A real Redis that takes tokens for passwords, as Azure Managed Redis does: only the newest, and old connections are cut."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from gateway.core.admission import Admit, Answer, Group, StoreAwayError
from gateway.core.limits import Limits, Rate
from gateway.shell.limits_redis import RedisCounterStore
from gateway.shell.redis_login import EntraLogin, Token
from tests.service.limits_servers import RedisServer, needs_redis, running
from tests.support import eventually

pytestmark = needs_redis
OID = "0b0b0b0b-0000-4000-8000-00000000000b"
LIMITS = Limits(calls=Rate(1_000_000, 60, 1_000_000))


class TokenRedis:
    """Gives out tokens that the server takes: the newest alone opens connections."""

    def __init__(self, server: RedisServer, lasts_s: float) -> None:
        self.server = server
        self.lasts_s = lasts_s
        self.given = 0
        self.is_away = False

    def __call__(self) -> Token:
        if self.is_away:
            raise OSError("Entra ID is away")
        self.given += 1
        value = f"token-{self.given}"
        rights = ["~sg:*", "+@all"]
        assert self.server.cli("ACL", "SETUSER", OID, "on", "resetpass", f">{value}", *rights).strip() == b"OK"
        return Token(OID, value, self.lasts_s)

    def connections(self) -> list[str]:
        """Ids of the user's connections, oldest first."""
        lines = self.server.cli("CLIENT", "LIST").decode().splitlines()
        return sorted((line.split()[0].removeprefix("id=") for line in lines if f"user={OID}" in line), key=int)


async def counted(store: RedisCounterStore) -> int:
    """How often this caller asked; raises what the store said instead."""
    (answer,) = await store.decide([Group("t/o", LIMITS, (Admit(calls=1, rows=0),))])
    if isinstance(answer, StoreAwayError):
        raise answer
    assert isinstance(answer, Answer)
    return len(answer.decisions)


@pytest.mark.parametrize("cluster", [False, True], ids=["single", "cluster"])
async def test_counting_goes_on_while_tokens_come_and_go(cluster: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder), cluster=cluster) as server:
        entra = TokenRedis(server, lasts_s=0.5)
        login = EntraLogin(entra)
        store = RedisCounterStore(server.url, login=login)
        server.cli("ACL", "SETUSER", "default", "+@all")
        seen: set[str] = set()
        while login.version < 4:
            assert await counted(store) == 1
            seen.update(await asyncio.to_thread(entra.connections))
        assert len(seen) >= 3, "each token opened a connection"
        assert not seen <= set(entra.connections()), "and former ones were closed"
        await store.aclose()
        await asyncio.to_thread(eventually, lambda: entra.connections() == [], what="no connection is left")


async def test_a_connection_that_redis_cuts_is_opened_again_with_the_token_of_now() -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder)) as server:
        entra = TokenRedis(server, lasts_s=3600)
        store = RedisCounterStore(server.url, login=EntraLogin(entra))
        await counted(store)
        server.cli("CLIENT", "KILL", "USER", OID)
        await asyncio.to_thread(eventually, lambda: entra.connections() == [], what="the connection is cut")
        for _ in range(2):  # a cut may show at the first use only
            try:
                await counted(store)
            except StoreAwayError:
                continue
        await store.probe()
        assert await counted(store) == 1
        assert entra.given == 1
        await store.aclose()


async def test_without_a_token_redis_is_away_and_the_reason_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder)) as server:
        entra = TokenRedis(server, lasts_s=3600)
        entra.is_away = True
        store = RedisCounterStore(server.url, login=EntraLogin(entra))
        with pytest.raises(StoreAwayError, match="Entra ID is away"):
            await store.probe()
        entra.is_away = False
        await store.probe()
        assert await counted(store) == 1
        await store.aclose()
