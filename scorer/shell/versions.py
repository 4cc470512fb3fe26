"""The versions of this pod: looks into the store, brings each wanted version up, and reports what cannot be served and why.

    found ─▶ fetching ─▶ loading (zygote) ─▶ testing (throw-away fork) ─▶ starting ─▶ ready
                 └──────────┴──────────────────┴─▶ unavailable, with the reason; the others do not notice

A version that leaves the store drains. A zygote that dies is loaded anew beside its workers, which go on meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import time
from pathlib import Path

import structlog

from scorer.core.calls import Key
from scorer.core.catalogue import Version, absent, render, settled, wanted
from scorer.core.listing import Found
from scorer.core.manifest import Manifest, ManifestError, check_names, digest_of, example_frames, parse_manifest
from scorer.core.memory import Budget, DoesNotFitError, Need, foreseen, growth_limit
from scorer.core.states import VersionState
from scorer.core.trust import UntrustedError, check_trust
from scorer.settings import ScorerSettings
from scorer.shell.cache import CacheError, CorruptError
from scorer.shell.environment import r_environment
from scorer.shell.memory import allowed_bytes, memory_of
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.processes import Death
from scorer.shell.self_test import RefusedError, prove, warm
from scorer.shell.store import Store, StoreError
from scorer.shell.trust import TrustedKeys
from scorer.shell.workers import Workers
from scorer.shell.zygote import Zygote, ZygoteError
from shared.catalogue import Promotion
from shared.cost import Cost
from shared.wire import Frame, WireError

log = structlog.get_logger()


class Versions:
    """Keeps the pod's versions as the store has them. `poll` again and again; `close` at the end."""

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
        self.versions: dict[Key, Version] = {}
        self.store_error: str | None = "the store was not looked into yet"
        self.absent: list[str] = []
        self.promoted: dict[str, Promotion] = {}
        self._settings = settings
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._run_dir = run_dir
        self._slots = slots
        self._pod = pod
        self._loading = asyncio.Semaphore(max(1, min(slots, 4)))
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._was_ready = False
        self._numbers = 0
        self._listed = False
        self._trusted = TrustedKeys(settings.trusted_keys) if settings.trusted_keys else None
        self._budget = Budget(settings.memory_mib * 1024 * 1024 or allowed_bytes())
        self._catalogue: tuple[bytes, str] | None = None
        self.draining = False
        workers.on_ready = self._first_worker
        workers.on_down = self._down
        workers.on_up = self._up

    # what others ask

    def catalogue(self) -> tuple[bytes, str]:
        """The catalogue's JSON and ETag; made when something has changed."""
        if self._catalogue is None:
            self._catalogue = render(self._pod, self._slots, self.versions, self.promoted, draining=self.draining)
        return self._catalogue

    def drain(self) -> None:
        """The catalogue tells gateways to go elsewhere, from now on. What they send all the same is served."""
        self.draining = True
        self._catalogue = None

    def not_ready(self) -> list[str]:
        """Why the pod is not ready; empty if it is. Once ready, it stays so while it serves anything."""
        states = [version.state for version in self.versions.values()]
        if (self._was_ready and VersionState.READY in states) or settled(self.versions.values()):
            self._was_ready = True
            return []
        reasons = [] if self.store_error is None else [f"store: {self.store_error}"]
        reasons += [
            f"{v.model} {v.version}: {v.reason or v.state}" for v in self.versions.values() if v.state != "ready"
        ]
        reasons += [f"{name} is not in the store" for name in self.absent]
        return reasons or ["the store has no model"]

    # the store

    async def poll(self) -> None:
        """Look into the store once, start what is new, drain what is gone. A store that is away changes nothing.

        Neither does one that is empty all of a sudden: a folder that is not mounted looks like that.
        """
        try:
            listing = await self._store.look()
            if not listing.found and not listing.retracted and self.versions:
                raise StoreError("it lists no model at all any more; nothing is retracted")  # noqa: TRY301 - one way out
        except StoreError as error:
            if self.store_error != str(error):
                log.warning("scorer.store.unreachable", error=str(error))
            self.store_error = str(error)
            cached = None if self.versions else self._store.cache.listing()
            if cached is None:
                return
            log.warning("scorer.store.cached", versions=len(cached.found), effect="what is cached is served")
            listing = cached
        else:
            if not self._listed:
                self._listed = True
                if not self.versions:
                    self._store.cache.prune()
            if self.store_error is not None:  # back: what could not be fetched need not wait for its pause
                self.retry()
            self.store_error = None
        here = {
            (item.model, item.version): item
            for item in listing.found
            if wanted(self._settings.models, (item.model, item.version))
        }
        if self.promoted != listing.promoted:
            self.promoted = dict(listing.promoted)
            self._changed()
        self.absent = absent(self._settings.models, here)
        for key, item in here.items():
            self._notice(key, item)
        for key in self.versions.keys() - here.keys():
            self._retract(key)

    def retry(self) -> None:
        """Try again what could not be served: at the next poll, or with a worker where only those are lacking."""
        for version in self.versions.values():
            if version.key in self._workers.pool.lines:
                self._workers.perform(self._workers.pool.try_now(version.key, time.monotonic()))
            else:
                version.retry_now(time.monotonic())

    def _notice(self, key: Key, item: Found) -> None:
        version = self.versions.get(key)
        if version is None:
            version = self.versions[key] = Version(*key, item.tag)
            log.info("scorer.version.found", model=item.model, version=item.version)
        elif version.may_retry(item.tag, time.monotonic()):
            version.tag = item.tag
            version.become(VersionState.FETCHING)
            self._leave_zygote(key)
        else:
            if version.tag != item.tag:
                log.error(
                    "scorer.version.changed", model=item.model, version=item.version, effect="none until a restart"
                )
                version.tag = item.tag
            return
        self._load_in_background(version)

    def _retract(self, key: Key) -> None:
        version = self.versions[key]
        if version.state is VersionState.DRAINING:
            return
        log.info("scorer.version.retracted", model=key[0], version=key[1])
        if (task := self._tasks.get(key)) is not None:
            task.cancel()
        version.become(VersionState.DRAINING)
        version.leaves_at_s = time.monotonic() + self._settings.retract_s
        self._changed()

    def tick(self) -> None:
        """Take no more calls for what gateways know to be retracted; forget what has drained: its last worker is gone."""
        now = time.monotonic()
        for key, version in list(self.versions.items()):
            if version.state is VersionState.DRAINING and now >= version.leaves_at_s:
                version.leaves_at_s = math.inf
                self._workers.perform(self._workers.pool.remove_version(key, now))
            if (
                version.state is VersionState.DRAINING
                and key not in self._workers.pool.lines
                and key not in self._tasks
            ):
                if (zygote := self._workers.zygotes.pop(key, None)) is not None:
                    zygote.close()
                del self.versions[key]
                self._store.cache.forget(version.digest)
                self._budget.release(key)
                self._changed()

    # one version

    def _load_in_background(self, version: Version) -> None:
        task = asyncio.get_running_loop().create_task(self._load(version))
        self._tasks[version.key] = task
        task.add_done_callback(lambda _: self._tasks.pop(version.key, None))
        self._changed()

    async def _load(self, version: Version) -> None:
        started = time.monotonic()
        try:
            async with self._loading:
                await self._bring_up(version)
        except StoreError as error:
            self._refuse(version, f"the store cannot be read: {error}", transient=True)
        except CacheError as error:
            self._refuse(version, f"the cache cannot be written: {error}", transient=True)
        except UntrustedError as error:
            self._refuse(version, str(error), transient=True)  # it may yet be signed
        except DoesNotFitError as error:
            self._refuse(version, str(error), transient=True)  # another may leave
        except ZygoteError as error:
            self._refuse(version, str(error), transient=error.transient)
        except CorruptError as error:
            self._refuse(version, str(error), transient=True, first_pause_s=math.inf)  # seldom: it may be very large
        except (RefusedError, ManifestError, WireError) as error:
            self._refuse(version, str(error))
        except OSError as error:
            self._refuse(version, f"R cannot be started: {error}", transient=True)
        except Exception as error:
            log.exception("scorer.version.failed", model=version.model, version=version.version)
            self._refuse(version, f"internal error: {type(error).__name__}")
        else:
            version.attempts = 0
            self._metrics.load.observe(time.monotonic() - started)

    def _refuse(
        self, version: Version, reason: str, *, transient: bool = False, first_pause_s: float | None = None
    ) -> None:
        if version.state is VersionState.DRAINING:
            return
        now = time.monotonic()
        if version.key in self._workers.pool.lines:  # its zygote died and could not be loaded anew
            self._workers.perform(self._workers.pool.remove_version(version.key, now))
        self._budget.release(version.key)
        version.refuse(reason, now, transient=transient, first_pause_s=first_pause_s or self._settings.poll_s)
        log.error("scorer.version.unavailable", model=version.model, version=version.version, reason=reason)
        self._changed()

    async def _bring_up(self, version: Version) -> None:
        """From the store to workers. A version that is READY stays so: only its zygote is made anew."""
        check_names(version.model, version.version)
        data = await self._store.manifest(Found(version.model, version.version, version.tag))
        version.digest = digest_of(data)
        if self._trusted is not None:
            trusted = self._trusted.keys()
            signed = await self._store.signatures(version.digest, trusted)
            check_trust(data, signed.found, trusted, signed.strangers)
        manifest = version.manifest = parse_manifest(data, version.model, version.version)
        example, expected = example_frames(manifest)
        folder = await self._store.package(manifest, data, version.digest)
        await self._reserve(version, foreseen(manifest.measured, self._slots))
        self._become(version, VersionState.LOADING)
        zygote = self._start_zygote(version, folder)
        try:
            await zygote.loaded(self._settings.max_load_s)
            version.warnings = zygote.warnings
            held = await asyncio.to_thread(memory_of, zygote.pid)
            if held is not None:
                peak = manifest.measured.peak_64_rows_bytes or 0
                await self._reserve(version, Need(held.pss_bytes, peak, self._slots))
            self._become(version, VersionState.TESTING)
            await self._prove(version, manifest, zygote, example, expected)
        except BaseException:
            zygote.close()
            raise
        self._serve(version, manifest, zygote)

    async def _prove(
        self, version: Version, manifest: Manifest, zygote: Zygote, example: Frame, expected: Frame
    ) -> None:
        load_s, predict_s = self._settings.max_load_s, self._settings.max_predict_s
        test = await self._workers.throw_away(zygote, load_s)
        proof = await prove(test, zygote, manifest, example, expected, min(load_s, predict_s))
        version.close, version.batchable, version.batchable_reason = (
            proof.close,
            proof.batchable,
            proof.batchable_reason,
        )
        await warm(zygote, manifest, example, batched=proof.batchable, predict_s=predict_s, most_s=load_s)

    async def _reserve(self, version: Version, need: Need) -> None:
        """Hold memory for it. Raises DoesNotFitError."""
        own = await asyncio.to_thread(memory_of, os.getpid())
        self._budget.own_bytes = own.pss_bytes if own is not None else 0
        self._budget.reserve(version.key, need)

    def _become(self, version: Version, state: VersionState) -> None:
        if version.state is not VersionState.READY:
            version.become(state)
        self._changed()

    def _start_zygote(self, version: Version, package: Path) -> Zygote:
        self._numbers += 1
        folder = self._run_dir / f"z{self._numbers}"
        program = str(Path(self._settings.r_home).absolute() / "bin" / "R") if self._settings.r_home else "R"
        quoted = str(package).replace("\\", "\\\\").replace("'", "\\'")
        command = [program, "--vanilla", "--no-echo", "-e", f"scoregate::run_zygote('{quoted}')"]
        zygote: Zygote | None = None

        def died(death: Death) -> None:
            if zygote is not None:
                self._zygote_died(version, zygote, death)

        zygote = Zygote(version.key, command, folder, r_environment(self._settings.r_libs, folder), died)
        self._workers.started.add(zygote)
        log.info("scorer.zygote.started", model=version.model, version=version.version, pid=zygote.pid)
        return zygote

    def _zygote_died(self, version: Version, zygote: Zygote, death: Death) -> None:
        if zygote.closed or self._workers.zygotes.get(version.key) is not zygote:
            return
        log.error("scorer.zygote.died", model=version.model, version=version.version, pid=zygote.pid, death=str(death))
        del self._workers.zygotes[version.key]
        if version.key in self._tasks:
            return
        if version.state is VersionState.READY:
            self._load_in_background(version)  # its workers go on; a new zygote comes beside them
        elif version.state is VersionState.STARTING:
            self._refuse(version, f"R ended ({death}) before a worker had come to listen", transient=True)
        elif version.state is VersionState.UNAVAILABLE:  # its workers did not stay up, and now it has none to fork them
            self._workers.perform(self._workers.pool.remove_version(version.key, time.monotonic()))
            self._budget.release(version.key)
            version.retry_at_s = time.monotonic() + self._settings.worker_probe_s

    def _serve(self, version: Version, manifest: Manifest, zygote: Zygote) -> None:
        key = version.key
        if version.state is VersionState.DRAINING:
            zygote.close()
            return
        self._become(version, VersionState.STARTING)
        self._workers.zygotes[key] = zygote
        measured = manifest.measured
        cost = Cost()
        if measured.fixed_ms is not None:
            cost.fixed_s = measured.fixed_ms / 1000
        if measured.row_ms is not None:
            cost.row_s = measured.row_ms / 1000
        now = time.monotonic()
        pool = self._workers.pool
        # What must not be scored twice must not share a run either: another item's failure would repeat it.
        batchable = version.batchable and manifest.retry
        growth = growth_limit(
            measured,
            share=self._settings.refork_share,
            floor_bytes=self._settings.refork_floor_mib * 1024 * 1024,
        )
        effects = pool.add_version(
            key,
            manifest.signature,
            batchable=batchable,
            retry=manifest.retry,
            cost=cost,
            now=now,
            growth_bytes=growth,
            loaded_bytes=measured.load_bytes or 0,
        )
        self._workers.perform(effects)
        self._changed()

    def _first_worker(self, key: Key) -> None:
        version = self.versions.get(key)
        if version is not None and version.state is VersionState.STARTING:
            version.become(VersionState.READY)
            log.info(
                "scorer.version.ready", model=key[0], version=key[1], batchable=version.batchable, close=version.close
            )
            self._changed()

    def _down(self, key: Key, reason: str) -> None:
        """Its workers do not stay up. The zygote stays, to fork those that are tried."""
        version = self.versions.get(key)
        if version is None or key in self._tasks or version.state not in {VersionState.STARTING, VersionState.READY}:
            return
        version.refuse(reason, time.monotonic(), transient=False, first_pause_s=math.inf)
        log.error("scorer.version.down", model=key[0], version=key[1], reason=reason)
        self._changed()

    def _up(self, key: Key) -> None:
        version = self.versions.get(key)
        if version is not None and version.state is VersionState.UNAVAILABLE:
            version.become(VersionState.READY)
            log.info("scorer.version.up", model=key[0], version=key[1])
            self._changed()

    def _leave_zygote(self, key: Key) -> None:
        """Whatever is left of a version that is loaded from the start."""
        self._workers.perform(self._workers.pool.remove_version(key, time.monotonic()))
        if (zygote := self._workers.zygotes.pop(key, None)) is not None:
            zygote.close()

    def _changed(self) -> None:
        self._catalogue = None

    # the end

    async def close(self) -> None:
        """Stop loading, end every zygote with all of its workers."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for zygote in self._workers.started:
            zygote.close()
        await asyncio.to_thread(shutil.rmtree, self._run_dir, ignore_errors=True)
