"""An open-loop load generator: requests leave at a fixed rate, whatever becomes of those before them.

A closed loop sends its next request when the last is answered, so a server that stops for a second is asked less in that
second, and the figure looks well ("coordinated omission"). Here the time of every request is set beforehand and its latency
counts from that time: what waited because the server, or this generator, was behind is in the figure. Every answer is
compared with the one that is right. Bounded in time and in requests at once; refuses to fire at anything but this machine.

    async with Gun(gateway_url, {"Authorization": …}) as gun:
        report = await gun.fire(shots, rate_per_s=200, seconds=60)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
#: What is said of a request that was not answered within `timeout_s`, and of one that could not leave.
NO_ANSWER, NOT_SENT = "no answer", "not sent: too many wait"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request and what is right about its answer: `wrong(status, body)` is None, or what is the matter with it."""

    path: str
    body: bytes
    wrong: Callable[[int, bytes], str | None]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """What came of it. `latencies_s` has one number for every request that was answered rightly, from its intended time."""

    intended: int = 0
    latencies_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
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

    def percentile_ms(self, percent: float) -> float:
        """The latency in ms that `percent` of the right answers did not exceed; NaN where there is none."""
        if not self.latencies_s:
            return math.nan
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]

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


class Gun:
    """Sends shots to one server of this machine. An async context manager; `pull` one, `fire` at a rate, `flood` in a loop."""

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 30, at_once: int = 2000
    ) -> None:
        """Raises ValueError for another machine's address. More than `at_once` unanswered: the next count as not sent."""
        if urlsplit(url).hostname not in _LOOPBACK:
            raise ValueError(f"{url} is not this machine: load goes to the loopback interface only")
        self._url = url
        self._headers = dict(headers or {})
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._at_once = at_once
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Gun:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30), timeout=self._timeout, headers=self._headers
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def pull(self, shot: Shot) -> str | None:
        """Send one; None if it was answered rightly, else what was the matter."""
        if self._session is None:
            raise RuntimeError("enter it first: async with Gun(...) as gun")
        try:
            async with self._session.post(self._url + shot.path, data=shot.body, headers=shot.headers) as answer:
                return shot.wrong(answer.status, await answer.read())
        except TimeoutError:
            return NO_ANSWER
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def fire(
        self,
        shots: Sequence[Shot],
        *,
        rate_per_s: float,
        seconds: float,
        stop: asyncio.Event | None = None,
    ) -> Report:
        """`rate_per_s` requests a second for `seconds`, the shots in turn, or until `stop`; waits for the last answer."""
        report = Report()
        flying: set[asyncio.Task[None]] = set()

        async def one(shot: Shot, intended: float) -> None:
            wrong = await self.pull(shot)
            if wrong is None:
                report.latencies_s.append(time.perf_counter() - intended)
            else:
                report.failures[wrong] += 1

        began = time.perf_counter()
        for number in range(math.floor(rate_per_s * seconds)):
            intended = began + number / rate_per_s
            if (wait_s := intended - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            elif number % 16 == 0:
                await asyncio.sleep(0)  # behind: let answers in all the same
            if stop is not None and stop.is_set():
                break
            report.intended += 1
            report.latest_start_s = max(report.latest_start_s, time.perf_counter() - intended)
            if len(flying) >= self._at_once:
                report.failures[NOT_SENT] += 1
                continue
            task = asyncio.create_task(one(shots[number % len(shots)], intended))
            flying.add(task)
            task.add_done_callback(flying.discard)
        await asyncio.gather(*flying)
        report.took_s = time.perf_counter() - began
        return report

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
                if wrong is None:
                    report.latencies_s.append(time.perf_counter() - sent)
                else:
                    report.failures[wrong] += 1

        await asyncio.gather(*(caller(number) for number in range(callers)))
        report.took_s = time.perf_counter() - began
        return report
