"""Where a batch goes when a pod says that it does not serve the version: elsewhere, and a clear 503 if there is no elsewhere."""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import Any, cast

import pytest

from gateway.core.coalesce import Coalescer, Item, Place
from gateway.core.contract import compile_contract
from gateway.core.losses import Losses
from gateway.core.pods import Pod, Pods
from gateway.shell.coalesce import Forwarder, Waiting
from gateway.shell.pods import PodClient
from shared.catalogue import VersionEntry
from shared.errors import ScoregateError, UnavailableError, VersionDownError, VersionNotHereError
from shared.messages import Answer
from shared.signature import Field, Signature, Type
from shared.stages import NO_TIMES, Times
from shared.wire import Frame

SIGNATURE = Signature(
    inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.DOUBLE),)
)
CONTRACT = compile_contract(VersionEntry(model="m", version="1", state="ready", digest="d", signature=SIGNATURE), 100)
ROW = Frame(1, (array("d", [2.5]).tobytes(),))


class SayingPods:
    """Pods that echo, or say what is the matter; as much of PodClient as a forwarder needs."""

    def __init__(self, **says: ScoregateError | None) -> None:
        self.pods = Pods()
        self.pods.keep(says)
        self.says = says
        self.asked: list[str] = []

    def slots(self, having: frozenset[str] | None = None) -> int:  # noqa: ARG002
        """Enough."""
        return 4

    async def infer(self, pod: Pod, *rest: Any) -> tuple[Answer, Times]:
        """What this pod says."""
        self.asked.append(pod.address)
        if (error := self.says[pod.address]) is not None:
            raise error
        return Answer("m", "1", rest[4], list(rest[5]), ()), NO_TIMES


async def score(pods: SayingPods) -> Frame:
    forwarder = Forwarder(
        cast("PodClient", pods),
        Coalescer(slots=4, max_batch_rows=64, max_waiting_rows=100),
        lambda *_: None,
        lambda: None,
        Losses(6.0),
    )
    answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
    place = Place("m", "g")
    waiting = Waiting(CONTRACT, lambda: frozenset(pods.says), "request", answer, retry=True, own_place=place)
    return await forwarder.score(Item(place, ROW, time.monotonic() + 10, waiting))


@pytest.mark.parametrize("error", [VersionNotHereError(), VersionDownError("its workers do not stay up: 5 x SIGABRT")])
async def test_a_version_that_one_pod_does_not_serve_is_scored_by_another(error: ScoregateError) -> None:
    pods = SayingPods(a=error, b=None)
    assert (await score(pods)).buffers == ROW.buffers
    assert pods.asked == ["a", "b"]


async def test_a_version_that_is_down_on_every_pod_is_a_clear_503() -> None:
    pods = SayingPods(a=VersionDownError("5 x SIGABRT"), b=VersionDownError("5 x SIGABRT"))
    with pytest.raises(UnavailableError, match="do not stay up; try again later") as refused:
        await score(pods)
    assert (refused.value.status, refused.value.retry_after_ms) == (503, 5000)
    assert pods.asked == ["a", "b"]
