"""Callers' counters in Redis, shared by all gateway processes: one script call per caller, a trip in one pipeline.

One Redis, a Redis Cluster or Azure Managed Redis (redis-py's asyncio clients). With `redis+cluster://` and
`rediss+cluster://` it is a cluster; with `redis://` and `rediss://` the server is asked. Nothing here retries what
Redis may have counted; failover.py decides what happens when Redis is away.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from gateway.core.admission import (
    MAX_LEASE_MS,
    Admit,
    Admitted,
    Answer,
    Decision,
    Group,
    Limit,
    Refused,
    StoreAwayError,
    Usage,
)
from gateway.core.gcra import scales
from gateway.core.limits import Limits
from gateway.shell.redis_login import EntraLogin

#: A longer script call would hold Redis up: the rest of a caller's asks go in a further call of the same pipeline.
MAX_ASKS_PER_CALL = 250
#: Of one connection being opened and of one probe; the trips' own deadline is shorter and failover.py's.
SOCKET_TIMEOUT_S = 1.0
_SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix")
_LIMITS: tuple[Limit, ...] = ("calls", "rows", "concurrent", "quota")
_FAILURES = (RedisError, RedisClusterException, OSError, EOFError)  # the second is not one of the first


def keys(caller_key: str) -> tuple[str, str]:
    """The caller's two keys.

    The caller key is percent-encoded (but for the `/` of `tid/oid`), so none can end its own hash tag or reach into
    another's.
    """
    name = quote(caller_key, safe="/")
    if not name:
        raise ValueError("a caller without a key cannot be counted")
    return f"sg:{{{name}}}:counts", f"sg:{{{name}}}:leases"


def admit_script() -> str:
    """The text of lua/admit.lua."""
    return files("gateway.shell").joinpath("lua/admit.lua").read_text("utf-8")


class RedisCounterStore:
    """A `CounterStore` on Redis 5 or newer. Connects at the first use; one connection carries the trips.

    `url` may carry user and password; they appear in no log and no error. `ca_file` is the PEM that `rediss` is checked
    with, if not the system's. `login` takes the place of user and password; with each token that it renews a new connection
    takes over, and the old one is closed at the renewal after, long after its last trip. It is closed with the store.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        login: EntraLogin | None = None,
        ca_file: str | None = None,
        script: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        scheme, _, cluster = parts.scheme.partition("+")
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"a Redis URL starts with {', '.join(f'{s}://' for s in _SCHEMES)}")
        self._url = urlunsplit(parts._replace(scheme=scheme))
        self._place = parts.path if scheme == "unix" else f"{parts.hostname}:{_port(parts)}"
        self._is_cluster: bool | None = True if cluster else False if scheme == "unix" else None
        self._options: dict[str, Any] = {
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "protocol": 2,
        }
        if password is not None:
            self._options["password"] = password
        if login is not None:
            self._options["credential_provider"] = login
        if ca_file is not None:
            self._options["ssl_ca_certs"] = ca_file
        self._script = script or admit_script()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._client: Redis | RedisCluster | None = None
        self._connection: AbstractConnection | None = None  # of the trips, to a single Redis
        self._trip_under_way = False
        self._login = login
        self._opened_with = 0
        self._retired: Redis | RedisCluster | None = None

    def __repr__(self) -> str:
        kind = {True: "cluster", False: "single", None: "not yet asked"}[self._is_cluster]
        return f"<RedisCounterStore: {self._place}, {kind}>"

    async def decide(self, groups: Iterable[Group]) -> list[Answer | StoreAwayError]:
        """All groups in one pipeline; in a cluster one pipeline per node, at the same time."""
        groups = list(groups)
        calls = [(index, part) for index, group in enumerate(groups) for part in _parts(group)]
        try:
            replies = await self._send("EVALSHA", self._sha, [part for _, part in calls])
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:  # a Redis that restarted, or another node: none of these was counted
                again = await self._send("EVAL", self._script, [calls[at][1] for at in unknown])
                for at, reply in zip(unknown, again, strict=True):
                    replies[at] = reply
        except _FAILURES as error:
            raise self._away(error) from error
        answers: list[Answer | StoreAwayError] = [Answer(()) for _ in groups]
        for (index, part), reply in zip(calls, replies, strict=True):
            so_far = answers[index]
            if isinstance(reply, Exception):
                answers[index] = self._away(reply)
            elif isinstance(so_far, Answer):
                answers[index] = Answer(so_far.decisions + _read(part, reply))
        return answers

    async def probe(self) -> None:
        """Writes a key that lasts a second (a replica or a full Redis cannot); in a cluster, asks every primary too."""
        try:
            client = await self._connected()
            if isinstance(client, Redis) and not self._trip_under_way:
                (said,) = await self._straight(client, [("SET", "sg:probe", 1, "PX", 1000)])
                if isinstance(said, Exception):
                    raise said
            else:
                await cast("Awaitable[object]", client.set("sg:probe", 1, px=1000))
            if isinstance(client, RedisCluster):
                await cast("Awaitable[object]", client.execute_command("PING", target_nodes=RedisCluster.PRIMARIES))
        except _FAILURES as error:
            await self._forget()
            raise self._away(error) from error

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._forget()
        if self._login is not None:
            await self._login.aclose()

    async def _connected(self) -> Redis | RedisCluster:
        if self._login is not None and self._client is not None and self._login.version != self._opened_with:
            (former, self._retired), self._client = (self._retired, self._client), None
            if not self._trip_under_way:
                await self._hang_up()
            await _close(former)
        if self._client is None:
            if self._login is not None:
                await self._login.get_credentials_async()  # the first token, before anything is open
                self._opened_with = self._login.version
            client: Redis | RedisCluster
            if self._is_cluster is None:
                async with Redis.from_url(self._url, retry=_no_retry(), **self._options) as one:
                    self._is_cluster = await _cluster_enabled(one)
            if self._is_cluster:
                client = RedisCluster.from_url(self._url, retry=_no_retry(), **self._options)
                self._client = await client.initialize()
            else:
                self._client = Redis.from_url(self._url, retry=_no_retry(), **self._options)
        return self._client

    async def _send(self, command: str, script: str, groups: Sequence[Group]) -> list[Any]:
        client = await self._connected()
        if isinstance(client, Redis) and not self._trip_under_way:
            return await self._straight(
                client, [(command, script, 2, *keys(g.caller_key), *_arguments(g)) for g in groups]
            )
        pipeline = client.pipeline(transaction=False)
        for group in groups:
            pipeline.execute_command(command, script, 2, *keys(group.caller_key), *_arguments(group))
        return list(await pipeline.execute(raise_on_error=False))

    async def _straight(self, client: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Over the trips' own connection: what the client does around a pipeline costs several times the trip.

        redis-py drops a connection on which a call was broken off, so an answer is never taken for another trip's.
        """
        self._trip_under_way = True
        try:
            connection = self._connection
            if connection is None:
                pool: Any = client.connection_pool
                connection = self._connection = cast("AbstractConnection", pool.make_connection())
            elif connection.is_connected and await connection.can_read():  # it was closed, or says what nobody asked
                await connection.disconnect(nowait=True)
            packed = [piece for command in commands for piece in connection.pack_command(*command)]
            await connection.send_packed_command(packed, check_health=False)
            replies: list[Any] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
            return replies
        finally:
            self._trip_under_way = False

    async def _forget(self) -> None:
        both = (self._client, self._retired)
        self._client, self._retired = None, None
        await self._hang_up()
        for client in both:
            await _close(client)

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_FAILURES):
                await connection.disconnect(nowait=True)

    def _away(self, error: BaseException) -> StoreAwayError:
        return StoreAwayError(f"{self._place}: {type(error).__name__}: {error}"[:300])


async def _close(client: Redis | RedisCluster | None) -> None:
    if client is None:
        return
    try:
        await client.aclose()
        if isinstance(client, RedisCluster):  # after a lost connection its aclose() leaves the others open
            await client.nodes_manager.aclose("nodes_cache")
            await client.nodes_manager.aclose("startup_nodes")
    except _FAILURES:  # they are gone already
        return


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or 6379
    except ValueError:  # its text would show a part of the password, if that is where the URL was cut wrongly
        raise ValueError("the Redis URL has no valid port; percent-encode what is special in a password") from None


async def _cluster_enabled(client: Redis) -> bool:
    try:
        info = await client.info("cluster")
    except ResponseError:  # not allowed to ask
        return False
    return bool(info.get("cluster_enabled"))


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _parts(group: Group) -> Iterable[Group]:
    if len(group.asks) <= MAX_ASKS_PER_CALL:
        return (group,)
    starts = range(0, len(group.asks), MAX_ASKS_PER_CALL)
    return [Group(group.caller_key, group.limits, group.asks[at : at + MAX_ASKS_PER_CALL]) for at in starts]


@lru_cache(maxsize=1024)
def _limits(limits: Limits) -> str:
    words: list[int | str] = []
    for by in scales(limits):
        words += (by.parts, by.leak, by.capacity, by.tick_us) if by else (0, 0, 0, 1)
    quota = limits.quota
    words.append(limits.concurrent or 0)
    words += (quota.amount, quota.window_s * 1_000_000, quota.counts) if quota else (0, 1, "calls")
    words.append(MAX_LEASE_MS)
    return " ".join(map(str, words))


def _arguments(group: Group) -> tuple[str, str]:
    """What admit.lua calls ARGV."""
    asks = [
        f"{ask.calls} {ask.rows} {ask.lease_ms} {ask.lease_id or '-'}"
        if isinstance(ask, Admit)
        else f"release 0 0 {ask.lease_id}"
        for ask in group.asks
    ]
    return _limits(group.limits), " ".join(asks)


def _read(group: Group, reply: bytes) -> tuple[Decision | None, ...]:
    now_us, *numbers = map(int, reply.split())
    each = iter(zip(*[iter(numbers)] * 6, strict=True))
    decisions: list[Decision | None] = []
    for ask in group.asks:
        if not isinstance(ask, Admit):
            decisions.append(None)
            continue
        limit, wait_us, calls_level, rows_level, quota_used, in_flight = next(each)
        usage = Usage(now_us, calls_level, rows_level, quota_used, in_flight)
        decisions.append(Refused(_LIMITS[limit - 1], wait_us, usage) if limit else Admitted(usage))
    return tuple(decisions)
