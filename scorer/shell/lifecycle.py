"""What becomes of each version of this pod, from its coming to its going.

    found ─▶ fetching ─▶ loading (zygote) ─▶ testing (throw-away fork) ─▶ starting ─▶ ready
                 └──────────┴──────────────────┴─▶ unavailable, with the reason; the others do not notice

A zygote that dies is loaded anew beside its workers, which go on meanwhile. Which versions there are, `Versions` knows.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable, Mapping

import structlog

from scorer.core.calls import Key
from scorer.core.manifest import Manifest, Measured
from scorer.core.memory import growth_limit
from scorer.core.states import VersionState
from scorer.core.version import Version
from scorer.settings import ScorerSettings
from scorer.shell.loader import Loader
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.processes import Death
from scorer.shell.refusal import Refusal, refusal_of
from scorer.shell.workers import Workers
from scorer.shell.zygote import Zygote
from shared.cost import Cost

log = structlog.get_logger()
_MOST_LOADING = 4


class Lifecycle:
    """Loads versions, gives them to the pool, and hears of their workers and zygotes. `changed` is called when any moves."""

    def __init__(
        self,
        settings: ScorerSettings,
        versions: Mapping[Key, Version],
        loader: Loader,
        workers: Workers,
        metrics: ScorerMetrics,
        slots: int,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._loader = loader
        self._workers = workers
        self._metrics = metrics
        self._changed = changed
        self._loading = asyncio.Semaphore(max(1, min(slots, _MOST_LOADING)))
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        workers.on_ready = self._first_worker
        workers.on_down = self._down
        workers.on_up = self._up

    # what `Versions` asks for

    def load(self, version: Version) -> None:
        """Bring it up in the background, as many at once as there are slots, four at most; the version says how far it is."""
        task = asyncio.get_running_loop().create_task(self._load(version))
        self._tasks[version.key] = task
        task.add_done_callback(lambda _: self._tasks.pop(version.key, None))
        self._changed()

    def load_anew(self, version: Version) -> None:
        """Load one that is UNAVAILABLE from the start; whatever is left of it goes."""
        version.become(VersionState.FETCHING)
        self._workers.perform(self._workers.pool.remove_version(version.key, time.monotonic()))
        self._close_zygote(version.key)
        self.load(version)

    def retry(self, version: Version) -> None:
        """Do not wait for the end of its pause: it is loaded at the next poll, or gets a worker where only those are lacking."""
        now = time.monotonic()
        if version.key in self._workers.pool.lines:
            self._workers.perform(self._workers.pool.try_now(version.key, now))
        else:
            version.retry_now(now)

    def stop_loading(self, key: Key) -> None:
        """Cancel what `load` began, if it has not ended."""
        if (task := self._tasks.get(key)) is not None:
            task.cancel()

    def has_ended(self, key: Key) -> bool:
        """Whether nothing of the version is left but, perhaps, its zygote: no worker, no call, no load under way."""
        return key not in self._workers.pool.lines and key not in self._tasks

    def bury(self, key: Key) -> None:
        """End the zygote of one that has ended, and give its memory to others."""
        self._close_zygote(key)
        self._loader.release(key)

    async def close(self) -> None:
        """Stop loading, end every zygote with all of its workers."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for zygote in self._workers.started:
            zygote.close()

    # one version

    async def _load(self, version: Version) -> None:
        started = time.monotonic()
        try:
            async with self._loading:
                died = functools.partial(self._zygote_died, version)
                manifest, zygote = await self._loader.bring_up(version, died)
                self._serve(version, manifest, zygote)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                log.exception("scorer.version.failed", model=version.model, version=version.version)
                refusal = Refusal(f"internal error: {type(error).__name__}")
            self._refuse(version, refusal)
        else:
            version.attempts = 0
            self._metrics.load.observe(time.monotonic() - started)

    def _refuse(self, version: Version, refusal: Refusal) -> None:
        if version.state is VersionState.DRAINING:
            return
        now = time.monotonic()
        if version.key in self._workers.pool.lines:  # its zygote died and could not be loaded anew
            self._workers.perform(self._workers.pool.remove_version(version.key, now))
        self._loader.release(version.key)
        pause_s = math.inf if refusal.seldom else self._settings.poll_s
        version.refuse(refusal.reason, now, transient=refusal.transient, first_pause_s=pause_s)
        log.error("scorer.version.unavailable", model=version.model, version=version.version, reason=refusal.reason)
        self._changed()

    def _serve(self, version: Version, manifest: Manifest, zygote: Zygote) -> None:
        key = version.key
        if version.state is VersionState.DRAINING:
            zygote.close()
            return
        version.advance(VersionState.STARTING)
        self._workers.zygotes[key] = zygote
        measured = manifest.measured
        growth = growth_limit(
            measured,
            share=self._settings.refork_share,
            floor_bytes=self._settings.refork_floor_mib * 1024 * 1024,
        )
        effects = self._workers.pool.add_version(
            key,
            manifest.signature,
            # What must not be scored twice must not share a run either: another item's failure would repeat it.
            batchable=version.batchable and manifest.retry,
            retry=manifest.retry,
            cost=_first_cost(measured),
            now=time.monotonic(),
            growth_bytes=growth,
            loaded_bytes=measured.load_bytes or 0,
        )
        self._workers.perform(effects)
        self._changed()

    def _close_zygote(self, key: Key) -> None:
        if (zygote := self._workers.zygotes.pop(key, None)) is not None:
            zygote.close()

    # news of its processes

    def _zygote_died(self, version: Version, zygote: Zygote, death: Death) -> None:
        key = version.key
        if zygote.closed or self._workers.zygotes.get(key) is not zygote:
            return
        log.error("scorer.zygote.died", model=version.model, version=version.version, pid=zygote.pid, death=str(death))
        del self._workers.zygotes[key]
        if key in self._tasks:
            return
        if version.state is VersionState.READY:
            self.load(version)  # its workers go on; a new zygote comes beside them
        elif version.state is VersionState.STARTING:
            self._refuse(version, Refusal(f"R ended ({death}) before a worker had come to listen", transient=True))
        elif version.state is VersionState.UNAVAILABLE:  # its workers did not stay up, and now it has none to fork them
            self._workers.perform(self._workers.pool.remove_version(key, time.monotonic()))
            self._loader.release(key)
            version.retry_at_s = time.monotonic() + self._settings.worker_probe_s

    def _first_worker(self, key: Key) -> None:
        version = self._versions.get(key)
        if version is not None and version.state is VersionState.STARTING:
            version.become(VersionState.READY)
            log.info(
                "scorer.version.ready", model=key[0], version=key[1], batchable=version.batchable, close=version.close
            )
            self._changed()

    def _down(self, key: Key, reason: str) -> None:
        """Its workers do not stay up. The zygote stays, to fork those that are tried."""
        version = self._versions.get(key)
        if version is None or key in self._tasks or version.state not in {VersionState.STARTING, VersionState.READY}:
            return
        version.refuse(reason, time.monotonic(), transient=False, first_pause_s=math.inf)
        log.error("scorer.version.down", model=key[0], version=key[1], reason=reason)
        self._changed()

    def _up(self, key: Key) -> None:
        version = self._versions.get(key)
        if version is not None and version.state is VersionState.UNAVAILABLE:
            version.become(VersionState.READY)
            log.info("scorer.version.up", model=key[0], version=key[1])
            self._changed()


def _first_cost(measured: Measured) -> Cost:
    """What a run costs by the manifest, until this pod has learned what it costs here."""
    cost = Cost()
    if measured.fixed_ms is not None:
        cost.fixed_s = measured.fixed_ms / 1000
    if measured.row_ms is not None:
        cost.row_s = measured.row_ms / 1000
    return cost
