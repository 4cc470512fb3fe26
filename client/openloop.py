"""An open-loop load generator: requests leave at a fixed rate, whatever becomes of those before them.

A closed loop sends its next request when the last is answered, so a server that stops for a second is asked less in that
second, and the figure looks well ("coordinated omission"). Here the time of every request is set beforehand and its latency
counts from that time: what waited because the server, or this generator, was behind is in the figure. Every answer is
compared with the one that is right. Bounded in time and in requests at once; fires at this machine only, unless told otherwise.

    async with Gun(gateway_url, {"Authorization": …}) as gun:
        report = await gun.fire(shots, rate_per_s=200, seconds=60)
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from client.wire import Connection

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
#: What is said of a request that was not answered within `timeout_s`, and of one that could not leave.
NO_ANSWER, NOT_SENT = "no answer", "not sent: too many wait"
#: A connection that was idle for longer may be closed by the server just as the next request leaves.
_REUSE_S = 2.0
_TICK_S = 0.001
_SWEEP_S = 0.1


def is_here(url: str) -> bool:
    """Whether an address is this machine's: the loopback interface, or a unix socket's path."""
    return url.startswith("/") or urlsplit(url).hostname in _LOOPBACK


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed (nearest rank); NaN where there is none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1))]


@dataclass(frozen=True, slots=True)
class Shot:
    """One request and what is right about its answer: `wrong(status, body)` is None, or what is the matter with it."""

    path: str
    body: bytes
    wrong: Callable[[int, bytes], str | None]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """What came of it. `latencies_s` has one number for every request that was answered rightly, from its intended time;
    `failed_s` the same for the others, by what was the matter."""

    intended: int = 0
    latencies_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    failed_s: dict[str, list[float]] = field(default_factory=dict)
    took_s: float = 0.0
    latest_start_s: float = 0.0

    @property
    def right(self) -> int:
        """Requests with the right answer."""
        return len(self.latencies_s)

    @property
    def failed(self) -> int:
        """All others."""
        return self.failures.total()

    def add(self, wrong: str | None, latency_s: float) -> None:
        """Count one request."""
        if wrong is None:
            self.latencies_s.append(latency_s)
        else:
            self.failures[wrong] += 1
            self.failed_s.setdefault(wrong, []).append(latency_s)

    def percentile_ms(self, percent: float) -> float:
        """The latency in ms that `percent` of the right answers did not exceed; NaN where there is none."""
        return 1000 * percentile(self.latencies_s, percent)

    def extend(self, other: Report) -> None:
        """Count what came of another segment too."""
        self.intended += other.intended
        self.latencies_s += other.latencies_s
        self.failures += other.failures
        for wrong, seconds in other.failed_s.items():
            self.failed_s.setdefault(wrong, []).extend(seconds)
        self.took_s += other.took_s
        self.latest_start_s = max(self.latest_start_s, other.latest_start_s)

    def figures(self) -> dict[str, float | int | dict[str, int]]:
        """For a table or a file."""
        return {
            "requests": self.intended,
            "right": self.right,
            "failures": dict(self.failures),
            "per_s": round(self.right / self.took_s, 1) if self.took_s else 0.0,
            **{f"p{p:g}_ms": round(self.percentile_ms(p), 2) for p in (50, 99, 99.9)},
            "max_ms": round(self.percentile_ms(100), 2),
            "latest_start_ms": round(1000 * self.latest_start_s, 2),
        }


@dataclass(slots=True, eq=False)
class _Flying:
    """A request that has no answer yet."""

    until: float
    done: Callable[[str | None], None] | None
    connection: Connection | None = None


def due(rate_per_s: float, elapsed_s: float, total: int) -> int:
    """How many requests shall have left by then, the first at once; never more than `total`."""
    return min(total, math.floor(elapsed_s * rate_per_s + 1e-9) + 1)


class Gun:
    """Sends shots to one server of this machine. An async context manager; `pull` one, `fire` at a rate, `flood` in a loop."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 30,
        at_once: int = 2000,
        pool: int | None = None,
        here_only: bool = True,
        trusted: ssl.SSLContext | None = None,
        heard: Callable[[bytes], object] | None = None,
    ) -> None:
        """`url`: http:// or https://, or the path of a unix socket. Raises ValueError for another machine's if `here_only`.

        More than `at_once` unanswered: the next count as not sent. `pool`: so many connections are kept open from the first request
        on, all of them in use in turn, and what finds none free waits for one; by default as many are opened as there are requests
        at once. `trusted` is for https (by default the system's CAs); `heard` is told the head of each answer.
        """
        if here_only and not is_here(url):
            raise ValueError(f"{url} is not this machine: load goes to the loopback interface only")
        self._unix = url if url.startswith("/") else None
        parts = urlsplit(url)
        self._tls = trusted or ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if self._tls else 80)
        self._heard = heard
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._at_once = at_once
        self._pool = pool
        self._opened = False
        self._line: deque[tuple[_Flying, Callable[[Connection], None]]] = deque()  # what waits for one of the pool
        self._idle: list[tuple[Connection, float]] = []
        self._open: set[Connection] = set()
        self._flying: set[_Flying] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._raw: dict[int, tuple[Shot, bytes]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gun:
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._sweeper, *self._connecting) if task]
        self._sweeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)

    async def pull(self, shot: Shot) -> str | None:
        """Send one; None if it was answered rightly, else what was the matter."""
        said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._send(shot, lambda wrong: None if said.done() else said.set_result(wrong))
        return await said

    async def fire(
        self,
        shots: Sequence[Shot],
        *,
        rate_per_s: float,
        seconds: float,
        stop: asyncio.Event | None = None,
    ) -> Report:
        """`rate_per_s` requests a second for `seconds`, the shots in turn, or until `stop`; waits for the last answer."""
        report, landed = Report(), asyncio.Event()
        total = math.floor(rate_per_s * seconds)
        began = time.perf_counter()
        while report.intended < total and not (stop is not None and stop.is_set()):
            now = time.perf_counter()
            for number in range(report.intended, due(rate_per_s, now - began, total)):
                report.intended += 1
                self._fire_one(shots[number % len(shots)], began + number / rate_per_s, report, landed)
            following = began + report.intended / rate_per_s - time.perf_counter()
            await asyncio.sleep(max(_TICK_S, following) if report.intended < total else 0)
        while report.right + report.failed < report.intended:
            landed.clear()
            await landed.wait()
        report.took_s = time.perf_counter() - began
        return report

    def _fire_one(self, shot: Shot, intended: float, report: Report, landed: asyncio.Event) -> None:
        def done(wrong: str | None) -> None:
            report.add(wrong, time.perf_counter() - intended)
            landed.set()

        report.latest_start_s = max(report.latest_start_s, time.perf_counter() - intended)
        if len(self._flying) >= self._at_once:
            report.add(NOT_SENT, 0.0)
        else:
            self._send(shot, done)

    async def flood(self, shots: Sequence[Shot], *, callers: int, seconds: float) -> Report:
        """A closed loop of `callers`, for the one question it answers: how many requests a second are the most."""
        report = Report()
        began = time.perf_counter()

        async def caller(number: int) -> None:
            while time.perf_counter() - began < seconds:
                sent = time.perf_counter()
                report.intended += 1
                wrong = await self.pull(shots[number % len(shots)])
                number += callers
                report.add(wrong, time.perf_counter() - sent)

        await asyncio.gather(*(caller(number) for number in range(callers)))
        report.took_s = time.perf_counter() - began
        return report

    # --- one request

    def _send(self, shot: Shot, done: Callable[[str | None], None]) -> None:
        """Send it over an idle connection, or a new one; `done` is called once with what was the matter."""
        if self._sweeper is None:
            raise RuntimeError("enter it first: async with Gun(...) as gun")
        now = time.monotonic()
        flying = _Flying(now + self._timeout_s, done)
        self._flying.add(flying)
        request = self._request(shot)

        def on_answer(status: int, body: bytes) -> None:
            self._end(flying, shot.wrong(status, body) if status else body.decode(errors="replace"))

        def go(connection: Connection) -> None:
            flying.connection = connection
            connection.send(request, on_answer)

        if self._pool is not None:
            self._through_pool(flying, go, self._pool)
            return
        while self._idle:
            connection, since = self._idle.pop()
            if now - since < _REUSE_S:
                go(connection)
                return
            connection.close()
        self._begin(self._connect(flying, go))

    def _through_pool(self, flying: _Flying, go: Callable[[Connection], None], size: int) -> None:
        self._line.append((flying, go))
        if not self._opened:
            self._opened = True
            for _ in range(size):
                self._begin(self._join())
        while self._line and self._idle:
            self._free(self._idle.pop(0)[0])

    def _begin(self, connecting: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(connecting)
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _join(self) -> None:
        """One more of the pool, or what waits for one is told why there is none."""
        try:
            connection = await self._connection()
        except OSError as error:
            for flying, _ in self._line:
                self._end(flying, f"{type(error).__name__}: {error}")
            self._line.clear()
            return
        self._free(connection)

    def _tend(self, size: int) -> None:
        """Of the pool: open again what was closed, forget what waits in vain."""
        self._line = deque(waiting for waiting in self._line if waiting[0].done is not None)
        if self._opened:
            for _ in range(size - len(self._open) - len(self._connecting)):
                self._begin(self._join())

    async def _connect(self, flying: _Flying, then: Callable[[Connection], None]) -> None:
        try:
            connection = await self._connection()
        except OSError as error:
            self._end(flying, f"{type(error).__name__}: {error}")
            return
        if flying.done is None:  # too late meanwhile
            self._free(connection)
            return
        then(connection)

    async def _connection(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._unix is not None:
            return (await loop.create_unix_connection(self._new_connection, self._unix))[1]
        return (await loop.create_connection(self._new_connection, self._host, self._port, ssl=self._tls))[1]

    def _new_connection(self) -> Connection:
        connection = Connection(self._free, self._lost, self._heard)
        self._open.add(connection)
        return connection

    def _free(self, connection: Connection) -> None:
        """It has nothing to do: the next that waits has it."""
        while self._line:
            flying, go = self._line.popleft()
            if flying.done is not None:
                go(connection)
                return
        self._idle.append((connection, time.monotonic()))

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle = [one for one in self._idle if one[0] is not connection]

    def _end(self, flying: _Flying, wrong: str | None) -> None:
        self._flying.discard(flying)
        if flying.done is not None:
            done, flying.done = flying.done, None
            done(wrong)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            # The first: the newest is used again.
            old = sum(now - since >= _REUSE_S for _, since in self._idle) if self._pool is None else 0
            for connection, _ in self._idle[:old]:
                connection.close()
            del self._idle[:old]
            if self._pool is not None:
                self._tend(self._pool)
            for late in [flying for flying in self._flying if flying.until < now]:
                self._end(late, NO_ANSWER)
                if late.connection is not None:
                    late.connection.close()

    def _request(self, shot: Shot) -> bytes:
        """The whole request, made once for each shot."""
        known = self._raw.get(id(shot))
        if known is not None:
            return known[1]
        headers = {
            "Host": f"{self._host}:{self._port}",
            **self._headers,
            **shot.headers,
            "Content-Length": str(len(shot.body)),
        }
        lines = [f"POST {shot.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        request = "\r\n".join([*lines, "", ""]).encode() + shot.body
        if len(self._raw) < 10_000:
            self._raw[id(shot)] = (shot, request)  # the shot stays, so that its id is no other's
        return request
