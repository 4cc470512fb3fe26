"""Looks at the metrics of gateways and scorers, at their internal ports, which need no token."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from client.connection import UsageError, stack_state
from client.errors import ConnectionFailedError
from client.metrics import Samples
from client.overview import Look

_ANSWER_S = 2.0


def internal_addresses(
    stack: str | None, gateways: Sequence[str], scorers: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Those given, or a local stack's; empty where neither is. Raises UsageError for what is no address."""
    if not gateways and not scorers and stack is not None:
        state = stack_state(stack)
        gateways = state.gateway_internal_urls
        scorers = state.scorer_internal_urls
    return [_address(url) for url in dict.fromkeys(gateways)], [_address(url) for url in dict.fromkeys(scorers)]


def _address(given: str) -> str:
    url = given if "://" in given else f"http://{given}"
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        host = ""
    if not host:
        raise UsageError(f"{given!r} is not an address such as http://127.0.0.1:9090")
    return url.rstrip("/")


class Watcher:
    """A context manager; `look` asks all at once, each for at most 2 s."""

    def __init__(self, gateways: Sequence[str], scorers: Sequence[str]) -> None:
        self._gateways, self._scorers = gateways, scorers
        self._http = httpx.Client(trust_env=False, timeout=_ANSWER_S)
        self._threads = ThreadPoolExecutor(8)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._http.close()

    def look(self) -> Look:
        """What they say now. Raises ConnectionFailedError where none answers."""
        asked = [*self._gateways, *self._scorers]
        said = dict(zip(asked, self._threads.map(self._ask, asked), strict=True))
        if asked and not any(one is not None for one in said.values()):
            raise ConnectionFailedError(f"nothing answers at {', '.join(said)}")
        return Look(time.monotonic(), {g: said[g] for g in self._gateways}, {s: said[s] for s in self._scorers})

    def _ask(self, url: str) -> Samples | None:
        try:
            answer = self._http.get(f"{url}/metrics").raise_for_status()
            return Samples.parse(answer.text)
        except (httpx.HTTPError, ValueError):
            return None
