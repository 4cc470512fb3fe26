"""The versions of this pod, as the store has them: what is new comes, what is gone drains; and what the pod says of them.

What becomes of one in between is `Lifecycle`'s.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from pathlib import Path

import structlog

from scorer.core.calls import Key
from scorer.core.catalogue import render
from scorer.core.listing import Found
from scorer.core.readiness import Readiness, absent, wanted
from scorer.core.states import VersionState
from scorer.core.version import Version
from scorer.settings import ScorerSettings
from scorer.shell.lifecycle import Lifecycle
from scorer.shell.loader import Loader
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.store import Store
from scorer.shell.store_watch import StoreWatch
from scorer.shell.workers import Workers
from shared.catalogue import Promotion

log = structlog.get_logger()


class Versions:
    """Keeps the pod's versions as the store has them. `poll` and `tick` again and again; `close` at the end."""

    def __init__(
        self,
        settings: ScorerSettings,
        store: Store,
        workers: Workers,
        metrics: ScorerMetrics,
        run_dir: Path,
        slots: int,
        pod: str,
    ) -> None:
        """Build it inside the running loop. Raises SigningError if the file of trusted keys has none."""
        self.versions: dict[Key, Version] = {}
        self.absent: list[str] = []
        self.promoted: dict[str, Promotion] = {}
        self.draining = False
        self._settings = settings
        self._store = store
        self._workers = workers
        self._run_dir = run_dir
        self._slots = slots
        self._pod = pod
        self._readiness = Readiness()
        self._catalogue: tuple[bytes, str] | None = None
        self._watch = StoreWatch(store)
        loader = Loader(settings, store, workers, run_dir, slots, self._changed)
        self._lifecycle = Lifecycle(settings, self.versions, loader, workers, metrics, slots, self._changed)

    # what others ask

    @property
    def store_error(self) -> str | None:
        """Why the store could not be read when it was looked into last; None if it could."""
        return self._watch.error

    def catalogue(self) -> tuple[bytes, str]:
        """The catalogue's JSON and ETag; made when something has changed."""
        if self._catalogue is None:
            self._catalogue = render(self._pod, self._slots, self.versions, self.promoted, draining=self.draining)
        return self._catalogue

    def _changed(self) -> None:
        self._catalogue = None

    def not_ready(self) -> list[str]:
        """Why the pod is not ready; empty if it is. Once ready, it stays so while it serves anything."""
        return self._readiness.missing(self.versions.values(), self.absent, self.store_error)

    def drain(self) -> None:
        """The catalogue tells gateways to go elsewhere, from now on. What they send all the same is served."""
        self.draining = True
        self._changed()

    def retry(self) -> None:
        """Try again what could not be served: at the next poll, or with a worker where only those are lacking."""
        for version in self.versions.values():
            self._lifecycle.retry(version)

    # what time brings

    async def poll(self) -> None:
        """Look into the store once, start what is new, drain what is gone. A store that is away changes nothing."""
        was_away = self.store_error is not None
        listing = await self._watch.look(self.versions.keys())
        if listing is None:
            return
        if was_away and self.store_error is None:  # back: what could not be fetched need not wait for its pause
            self.retry()
        if self.promoted != listing.promoted:
            self.promoted = dict(listing.promoted)
            self._changed()
        models = self._settings.models
        here = {(item.model, item.version): item for item in listing.found}
        here = {key: item for key, item in here.items() if wanted(models, key)}
        self.absent = absent(models, here)
        for key, item in here.items():
            self._notice(key, item)
        for key in self.versions.keys() - here.keys():
            self._retract(key)

    def _notice(self, key: Key, item: Found) -> None:
        version = self.versions.get(key)
        if version is None:
            version = self.versions[key] = Version(*key, item.tag)
            log.info("scorer.version.found", model=item.model, version=item.version)
            self._lifecycle.load(version)
        elif version.may_retry(item.tag, time.monotonic()):
            version.tag = item.tag
            self._lifecycle.load_anew(version)
        elif version.tag != item.tag:
            log.error("scorer.version.changed", model=item.model, version=item.version, effect="none until a restart")
            version.tag = item.tag

    def _retract(self, key: Key) -> None:
        version = self.versions[key]
        if version.state is VersionState.DRAINING:
            return
        log.info("scorer.version.retracted", model=key[0], version=key[1])
        self._lifecycle.stop_loading(key)
        version.become(VersionState.DRAINING)
        version.leaves_at_s = time.monotonic() + self._settings.retract_s
        self._changed()

    def tick(self) -> None:
        """Take no more calls for what gateways know to be retracted; forget what has drained: its last worker is gone."""
        now = time.monotonic()
        for key, version in list(self.versions.items()):
            if version.state is not VersionState.DRAINING:
                continue
            if now >= version.leaves_at_s:
                version.leaves_at_s = math.inf
                self._workers.perform(self._workers.pool.remove_version(key, now))
            if self._lifecycle.has_ended(key):
                self._lifecycle.bury(key)
                del self.versions[key]
                self._store.cache.forget(version.digest)
                self._changed()

    async def close(self) -> None:
        """Stop loading, end every zygote with all of its workers, remove the run folder."""
        await self._lifecycle.close()
        await asyncio.to_thread(shutil.rmtree, self._run_dir, ignore_errors=True)
