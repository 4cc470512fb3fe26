"""A version's way from the store to a zygote that has proven itself: fetched, trusted, given memory, loaded, tested, warm.

Whatever stands in the way is raised; `refusal` says what that means for the version. Gives nothing to the pool.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from scorer.core.calls import Key
from scorer.core.listing import Found
from scorer.core.manifest import Manifest, check_names, digest_of, example_frames, parse_manifest
from scorer.core.memory import Budget, Need, foreseen
from scorer.core.states import VersionState
from scorer.core.trust import check_trust
from scorer.core.version import Version
from scorer.settings import ScorerSettings
from scorer.shell.environment import r_environment
from scorer.shell.memory import allowed_bytes, memory_of
from scorer.shell.processes import Death
from scorer.shell.self_test import prove, warm
from scorer.shell.store import Store
from scorer.shell.trust import TrustedKeys
from scorer.shell.workers import Workers
from scorer.shell.zygote import Zygote
from shared.wire import Frame

log = structlog.get_logger()


class Loader:
    """Brings versions up, each as far as a zygote, within the pod's memory. `changed` is called whenever one gets further."""

    def __init__(
        self,
        settings: ScorerSettings,
        store: Store,
        workers: Workers,
        run_dir: Path,
        slots: int,
        changed: Callable[[], None],
    ) -> None:
        """Raises SigningError if the file of trusted keys has none."""
        self._settings = settings
        self._store = store
        self._workers = workers
        self._run_dir = run_dir
        self._slots = slots
        self._changed = changed
        self._trusted = TrustedKeys(settings.trusted_keys) if settings.trusted_keys else None
        self._budget = Budget(settings.memory_mib * 1024 * 1024 or allowed_bytes())
        self._zygotes_started = 0

    async def bring_up(self, version: Version, died: Callable[[Zygote, Death], None]) -> tuple[Manifest, Zygote]:
        """Load it; `died` is called when the zygote's death is seen, whether it had loaded or not.

        A version that is READY stays so meanwhile. Raises what `refusal.refusal_of` knows; the zygote is closed then, as it is
        on cancellation, but the memory is held until `release`.
        """
        check_names(version.model, version.version)
        data = await self._store.manifest(Found(version.model, version.version, version.tag))
        version.digest = digest_of(data)
        await self._check_trust(data, version.digest)
        manifest = version.manifest = parse_manifest(data, version.model, version.version)
        example, expected = example_frames(manifest)
        folder = await self._store.package(manifest, data, version.digest)
        await self._reserve(version.key, foreseen(manifest.measured, self._slots))
        self._reach(version, VersionState.LOADING)
        zygote = self._start_zygote(version, folder, died)
        try:
            await zygote.loaded(self._settings.max_load_s)
            version.warnings = zygote.warnings
            held = await asyncio.to_thread(memory_of, zygote.pid)
            if held is not None:
                peak = manifest.measured.peak_64_rows_bytes or 0
                await self._reserve(version.key, Need(held.pss_bytes, peak, self._slots))
            self._reach(version, VersionState.TESTING)
            await self._prove(version, manifest, zygote, example, expected)
        except BaseException:
            zygote.close()
            raise
        return manifest, zygote

    def release(self, key: Key) -> None:
        """The version holds no memory any more. Repeats change nothing."""
        self._budget.release(key)

    async def _check_trust(self, manifest: bytes, digest: str) -> None:
        if self._trusted is not None:
            trusted = self._trusted.keys()
            signed = await self._store.signatures(digest, trusted)
            check_trust(manifest, signed.found, trusted, signed.strangers)

    async def _reserve(self, key: Key, need: Need) -> None:
        own = await asyncio.to_thread(memory_of, os.getpid())
        self._budget.own_bytes = own.pss_bytes if own is not None else 0
        self._budget.reserve(key, need)

    def _reach(self, version: Version, state: VersionState) -> None:
        version.advance(state)
        self._changed()

    def _start_zygote(self, version: Version, package: Path, died: Callable[[Zygote, Death], None]) -> Zygote:
        self._zygotes_started += 1
        folder = self._run_dir / f"z{self._zygotes_started}"
        program = str(Path(self._settings.r_home).absolute() / "bin" / "R") if self._settings.r_home else "R"
        quoted = str(package).replace("\\", "\\\\").replace("'", "\\'")
        command = [program, "--vanilla", "--no-echo", "-e", f"scoregate::run_zygote('{quoted}')"]
        zygote: Zygote | None = None

        def on_death(death: Death) -> None:
            if zygote is not None:
                died(zygote, death)

        environment = r_environment(self._settings.r_libs, folder)
        zygote = Zygote(version.key, command, folder, environment, on_death)
        self._workers.started.add(zygote)
        log.info("scorer.zygote.started", model=version.model, version=version.version, pid=zygote.pid)
        return zygote

    async def _prove(
        self, version: Version, manifest: Manifest, zygote: Zygote, example: Frame, expected: Frame
    ) -> None:
        load_s, predict_s = self._settings.max_load_s, self._settings.max_predict_s
        test = await self._workers.throw_away(zygote, load_s)
        proof = await prove(test, zygote, manifest, example, expected, min(load_s, predict_s))
        version.close = proof.close
        version.batchable, version.batchable_reason = proof.batchable, proof.batchable_reason
        await warm(zygote, manifest, example, batched=proof.batchable, predict_s=predict_s, most_s=load_s)
