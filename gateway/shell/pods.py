"""Talks to the scorer pods: finds them, asks each for its catalogue, sends batches. Decisions are `gateway.core.pods`'.

Every address behind a scorer's host name is a pod of its own (a headless Service). No header of the caller's is passed on; the pod
learns the request's id, the time left, and that a gateway speaks (an Ed25519 token, `shared.internal_token`).
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, urlsplit

import msgspec
import structlog
from joserfc.jwk import OKPKey

from gateway.core.catalogue import Index, build_index
from gateway.core.pods import Pod, Pods
from gateway.shell.hop import Hop, authority
from gateway.shell.pings import PING_S, PINGS, Owed, SilentError
from shared import internal_token
from shared.catalogue import Catalogue
from shared.deadline import DEADLINE_HEADER
from shared.errors import (
    DeadlineExceededError,
    OverdueError,
    OverloadedError,
    ScoregateError,
    SetAsideError,
    UnavailableError,
    UpstreamError,
    VersionDownError,
    VersionNotHereError,
)
from shared.http_client import Reply, into
from shared.messages import CONTENT_TYPE, HEADER_LENGTH, SHARE_HEADER, Answer, decode_response, encode_request
from shared.stages import TIMES_HEADER, Times, read_times
from shared.traceparent import TRACEPARENT_HEADER
from shared.wire import Frame, TensorSpecs, WireError

log = structlog.get_logger(__name__)
_catalogue = msgspec.json.Decoder(Catalogue)
#: Longer only where there is no other pod to go to.
_CONNECT_S = 2.0
#: After a batch's deadline the scorer's own 504 has had so long to come back.
_LATE_S = 0.25
_RETRY_AFTER_MS = b"retry-after-ms"
_LENGTH = HEADER_LENGTH.encode()
_TIMES = TIMES_HEADER.encode()
_POLL_TIMEOUT_S = 5.0
#: A pod that has not answered a poll for this long no longer speaks for its versions.
_FORGET_S = 15.0
_SAID: Mapping[str, type[ScoregateError]] = {
    e.code: e
    for e in (
        VersionNotHereError,
        VersionDownError,
        OverloadedError,
        UnavailableError,
        DeadlineExceededError,
        OverdueError,
        SetAsideError,
    )
}


class NoAnswerError(Exception):
    """The pod gave no answer at all: the batch may be tried elsewhere."""


@lru_cache(maxsize=4096)
def _target(address: str, model: str, version: str) -> str:
    """How a request for a version begins."""
    return (
        f"POST /v2/models/{quote(model, safe='')}/versions/{quote(version, safe='')}/infer HTTP/1.1\r\n"
        f"Host: {authority(address)}\r\nContent-Type: {CONTENT_TYPE}\r\n"
    )


class PodClient:
    """The scorer pods of one gateway process.

    `start` polls until `close`, each pod by itself: none waits for another's answer. `index` is what the pods last reported,
    kept while they are away. `on_change` is called after every answer that changed something.
    """

    def __init__(
        self, urls: Sequence[str], key: OKPKey, *, name: str, poll_s: float, on_change: Callable[[], None]
    ) -> None:
        self.pods = Pods()
        self.index = Index()
        self.ever_had_catalogue = False
        self._urls = tuple(urls)
        self._key = key
        self._name = name
        self._poll_s = poll_s
        self._on_change = on_change
        self._catalogues: dict[str, tuple[str, Catalogue, float]] = {}
        self._hop = Hop()
        self._task: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._slots: dict[frozenset[str] | None, int] = {}  # as asked for, of the pods and workers there are now
        self._owed = Owed(self._ping, self._fell_silent)
        self._token = ""
        self._token_of = -math.inf

    async def start(self) -> None:
        """Begin polling; returns after the first round, whether or not a pod answered."""
        await self._find()
        await asyncio.gather(*self._looks.values())
        self._take_stock()
        self._task = asyncio.create_task(self._keep_polling(), name="poll-pods")
        self._owed.start()

    async def close(self) -> None:
        """Stop polling and close all connections."""
        polling = [*self._looks.values(), *(task for task in (self._task, self._finding) if task is not None)]
        for task in polling:
            task.cancel()
        await asyncio.gather(*polling, return_exceptions=True)
        await self._owed.close()
        self._hop.close()

    def slots(self, having: frozenset[str] | None = None) -> int:
        """Batches to have away at once, at all pods or at those: what their workers run, and half as many on the way to them."""
        slots = self._slots.get(having)
        if slots is None:
            pods = [p for a, p in self.pods.by_address.items() if having is None or a in having]
            slots = self._slots[having] = max(1, sum(p.workers + (p.workers + 1) // 2 for p in pods))
        return slots

    def _bearer(self) -> str:
        now = time.time()
        # A token from before the wall clock was set back is of the future, and a scorer refuses it.
        if not self._token_of <= now < self._token_of + internal_token.LIFETIME_S / 2:
            self._token = "Bearer " + internal_token.issue(self._key, issuer=self._name, now=now)
            self._token_of = now
        return self._token

    # --- batches

    async def infer(
        self,
        pod: Pod,
        model: str,
        version: str,
        inputs: TensorSpecs,
        outputs: TensorSpecs,
        frame: Frame,
        items: Sequence[int],
        timeout_ms: int,
        request_id: str,
        share: str = "",
        traceparent: str | None = None,
    ) -> tuple[Answer, Times]:
        """One call. Raises NoAnswerError where the pod gave none, else what the pod said as our own error.

        With it comes where its time went inside the pod. The answer has been checked: it is of the model and version asked
        for, with one size per item, each the item's own number of rows or 0 with an error.
        """
        length, body = encode_request(inputs, frame, items)
        more = f"{SHARE_HEADER}: {share}\r\n" if share else ""
        if traceparent is not None:
            more += f"{TRACEPARENT_HEADER}: {traceparent}\r\n"
        head = (
            f"{_target(pod.address, model, version)}Authorization: {self._bearer()}\r\n"
            f"X-Request-Id: {request_id}\r\n{DEADLINE_HEADER}: {timeout_ms}\r\n{more}"
            f"{HEADER_LENGTH}: {length}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reply = await self._send(pod, head.encode() + body, frame.rows, timeout_ms / 1000 + _LATE_S)
        if pod.failures:
            log.info("gateway.pod.back", pod=pod.address)
        self.pods.answered(pod)
        if reply.status != 200:
            raise self._said(pod, reply)
        try:
            answer = decode_response(outputs, reply.body, int(reply.headers.get(_LENGTH, b"0")))
        except (WireError, ValueError) as error:
            raise UpstreamError from error
        if (answer.model, answer.version) != (model, version) or len(answer.items) != len(items):
            raise UpstreamError
        if any(got not in (0, sent) for got, sent in zip(answer.items, items, strict=True)):
            raise UpstreamError
        return answer, read_times(reply.headers.get(_TIMES, b"").decode("latin-1"))

    async def _send(self, pod: Pod, request: bytes, rows: int, within_s: float) -> Reply:
        """The pod's answer, whatever it says. Raises NoAnswerError, DeadlineExceededError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()

        self.pods.started(pod, rows)
        self._owed.leaves(pod.address, answer)
        timer = loop.call_later(within_s, _too_late, answer)
        try:
            connect_s = min(_CONNECT_S, within_s) if len(self.pods.by_address) > 1 else within_s
            connection = await self._hop.connection(pod.address, connect_s)
            try:
                if not answer.done():  # it was given up meanwhile
                    connection.send(request, into(answer))
                return await answer
            finally:
                self._hop.give_back(pod.address, connection)
        except SilentError as error:
            raise NoAnswerError(f"{pod.address}: it has fallen silent") from error
        except TimeoutError as error:
            self._lost(pod, error)
            raise NoAnswerError(f"{pod.address}: no connection in {connect_s:g} s") from error
        except OSError as error:
            self._lost(pod, error)
            raise NoAnswerError(f"{pod.address}: {error or type(error).__name__}") from error
        finally:
            timer.cancel()
            answered = answer.done() and not answer.cancelled() and answer.exception() is None
            self.pods.ended(pod, rows)
            self._owed.back(pod.address, answer, answered=answered)

    async def _ping(self, address: str) -> bool:
        headers = {"Authorization": self._bearer()}
        try:
            await self._hop.get(address, "/v2/health/live", headers, within_s=PING_S, connect_s=PING_S)
        except OSError:  # TimeoutError is one
            return False
        return True

    def _fell_silent(self, address: str) -> bool:
        """Eject it; whether what it owes can be tried at another."""
        if (pod := self.pods.by_address.get(address)) is not None:
            self._lost(pod, TimeoutError(f"no answer to {PINGS} pings"))
        return bool(self.pods.by_address.keys() - {address})

    def _lost(self, pod: Pod, error: BaseException) -> None:
        if pod.failures == 0:  # said once, not for each batch
            log.warning("gateway.pod.away", pod=pod.address, error=str(error) or type(error).__name__)
        self.pods.failed(pod, time.monotonic())

    def _said(self, pod: Pod, reply: Reply) -> ScoregateError:
        try:
            said = msgspec.json.decode(reply.body, type=dict[str, object])
        except msgspec.MsgspecError:
            said = {}
        kind = _SAID.get(str(said.get("code")))
        if kind is None:
            log.warning("gateway.pod.refused", pod=pod.address, status=reply.status, code=said.get("code"))
            return UpstreamError()
        wait = reply.headers.get(_RETRY_AFTER_MS, b"")
        return kind(retry_after_ms=int(wait) if wait.isdigit() else (1000 if kind.retryable else None))

    # --- the catalogue

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            self._hop.sweep(time.monotonic())
            try:
                self._look_at(self.pods.by_address.keys())
                self._take_stock()
                if (
                    self._finding is None or self._finding.done()
                ):  # a slow name delays no look at the pods that are known
                    self._finding = asyncio.create_task(self._find(), name="find-pods")
            except Exception:
                log.exception("gateway.pods.poll_failed")

    async def _find(self) -> None:
        """Which pods there are; and a look at the new ones."""
        found = await asyncio.gather(*map(self._resolve, self._urls))
        addresses = {address for of_one in found for address in of_one}
        if addresses:
            new = addresses - self.pods.by_address.keys()
            self.pods.keep(sorted(addresses))
            self._slots.clear()
            self._owed.keep(addresses)
            self._look_at(new)

    def _look_at(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if address not in self._looks:
                self._looks[address] = asyncio.create_task(
                    self._look(self.pods.by_address[address]), name="look-at-pod"
                )

    async def _look(self, pod: Pod) -> None:
        try:
            await self._ask(pod)
            if (
                self._task is not None
            ):  # of the first round all at once: some alone would serve what the others have not
                self._take_stock()
        except Exception:
            log.exception("gateway.pods.poll_failed")
        finally:
            del self._looks[pod.address]

    def _take_stock(self) -> None:
        """Put together what the pods last said."""
        now = time.monotonic()
        for address, (_, catalogue, seen) in list(self._catalogues.items()):
            gone = address not in self.pods.by_address or now - seen > _FORGET_S or catalogue.draining
            # The last pod's word is kept: an empty catalogue would turn an outage (503) into "no such model" (404).
            if gone and len(self._catalogues) > 1:
                del self._catalogues[address]
        index = build_index({address: catalogue for address, (_, catalogue, _) in self._catalogues.items()}, self.index)
        if index != self.index:
            self.index = index
            self._on_change()

    async def _resolve(self, url: str) -> list[str]:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme == "https":
            return [
                f"{parts.scheme}://{parts.hostname}:{port}"
            ]  # the certificate is for the name, not for its addresses
        try:
            async with asyncio.timeout(_CONNECT_S):
                infos = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            log.warning("gateway.pods.unresolved", host=parts.hostname, error=str(error))
            return [a for a in self.pods.by_address if a.endswith(f":{port}")]
        hosts = sorted({str(info[4][0]) for info in infos})
        if parts.hostname == "localhost" and len(hosts) > 1:
            hosts = [h for h in hosts if ":" not in h]
        return [f"http://[{h}]:{port}" if ":" in h else f"http://{h}:{port}" for h in hosts]

    async def _ask(self, pod: Pod) -> None:
        etag, catalogue, _ = self._catalogues.get(pod.address, ("", None, 0.0))
        headers = {"Authorization": self._bearer(), "If-None-Match": etag}
        try:
            reply = await self._hop.get(
                pod.address, "/internal/catalogue", headers, within_s=_POLL_TIMEOUT_S, connect_s=_CONNECT_S
            )
            if reply.status == 304 and catalogue is not None:
                self._catalogues[pod.address] = (etag, catalogue, time.monotonic())
            elif reply.status == 200:
                fresh = _catalogue.decode(reply.body)
                etag = reply.headers.get(b"etag", b"").decode("latin-1")
                self._catalogues[pod.address] = (etag, fresh, time.monotonic())
                pod.workers = fresh.workers
                self._slots.clear()
                self.ever_had_catalogue = True
            else:
                log.warning("gateway.pod.catalogue_refused", pod=pod.address, status=reply.status)
                return
        except (OSError, msgspec.MsgspecError) as error:  # TimeoutError is an OSError
            self._lost(pod, error)
            return
        if pod.failures:
            log.info("gateway.pod.back", pod=pod.address)
        self.pods.answered(pod)


def _too_late(answer: asyncio.Future[Reply]) -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceededError())
