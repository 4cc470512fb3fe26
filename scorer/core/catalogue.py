"""Which versions this pod should have, which it has, and what it tells gateways about them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from scorer.core.manifest import Manifest
from scorer.core.states import VERSION_MOVES, VersionState, move
from shared.catalogue import Catalogue, Promotion, VersionEntry
from shared.signature import Field, Signature, Type

Key = tuple[str, str]
_LONGEST_PAUSE_S = 600.0
_NO_PROMOTIONS: Mapping[str, Promotion] = {}
_PUBLIC_STATE = {VersionState.READY: "ready", VersionState.UNAVAILABLE: "unavailable"}


@dataclass(slots=True, eq=False)
class Version:
    """One version of the store in this pod. `reason` says why it is unavailable, or what it waits for."""

    model: str
    version: str
    tag: str  # of the manifest in the store
    state: VersionState = VersionState.FETCHING
    reason: str | None = None
    retry_at_s: float = math.inf  # when it is tried again: unavailable for something that may pass
    attempts: int = 0
    leaves_at_s: float = math.inf  # when a retracted one takes no more calls: gateways have noticed by then
    manifest: Manifest | None = None
    digest: str = ""
    batchable: bool = True
    batchable_reason: str | None = None
    close: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Its name in this pod."""
        return self.model, self.version

    def become(self, state: VersionState) -> None:
        """Move along the table. The reason of the last refusal stays until it is served."""
        self.state = move(VERSION_MOVES, self.state, state)
        self.retry_at_s = math.inf
        if state is VersionState.READY:
            self.reason = None

    def refuse(self, reason: str, now: float, *, transient: bool, first_pause_s: float) -> None:
        """Do not serve it. What may pass (`transient`) is tried again, after longer and longer pauses."""
        self.become(VersionState.UNAVAILABLE)
        self.reason = reason
        if transient:
            self.retry_at_s = now + min(_LONGEST_PAUSE_S, first_pause_s * 2.0 ** min(self.attempts, 16)) * 0.9
            self.attempts += 1

    def retry_now(self, now: float) -> None:
        """What stood in the way may be gone: do not wait for the end of its pause."""
        if self.state is VersionState.UNAVAILABLE:
            self.retry_at_s = now
            self.attempts = 0

    def may_retry(self, tag: str, now: float) -> bool:
        """Whether an unavailable version is worth another try: its manifest has changed, or its pause is over."""
        return self.state is VersionState.UNAVAILABLE and (tag != self.tag or now >= self.retry_at_s)


def wanted(models: Sequence[str], key: Key) -> bool:
    """Whether `SCORER_MODELS` (names or name@version; empty: all) takes this version."""
    return not models or key[0] in models or f"{key[0]}@{key[1]}" in models


def absent(models: Sequence[str], known: Iterable[Key]) -> list[str]:
    """What `SCORER_MODELS` asks for and the store does not have."""
    keys = list(known)
    return [name for name in models if not any(wanted([name], key) for key in keys)]


def settled(versions: Iterable[Version]) -> bool:
    """Whether each version is served or reported, and at least one is served: the pod's readiness."""
    known = list(versions)
    final = {VersionState.READY, VersionState.UNAVAILABLE, VersionState.DRAINING}
    served = any(version.state is VersionState.READY for version in known)
    return served and all(version.state in final or version.attempts for version in known)


def entry(version: Version) -> VersionEntry:
    """What gateways learn about a version; one without a readable manifest has an empty signature."""
    state = _PUBLIC_STATE.get(version.state, "loading")
    manifest = version.manifest
    if manifest is None:
        return VersionEntry(
            model=version.model,
            version=version.version,
            state=state,
            reason=version.reason,
            digest=version.digest,
            signature=Signature(inputs=(), outputs=()),
        )
    return VersionEntry(
        model=version.model,
        version=version.version,
        state=state,
        reason=version.reason,
        digest=version.digest,
        signature=manifest.signature,
        description=manifest.description,
        created=manifest.created,
        model_class=manifest.model_class,
        packages=manifest.packages,
        r_version=manifest.r_version,
        batchable=version.batchable,
        batchable_reason=version.batchable_reason,
        close=version.close,
        retry=manifest.retry,
        example={
            "inputs": _example(manifest.signature.inputs, manifest.example.inputs),
            "outputs": _example(manifest.signature.outputs, manifest.example.outputs),
        },
    )


def _example(fields: Sequence[Field], columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The manifest's columns with integers as such: its decoder read every number as a double."""
    return {
        field.name: [int(v) if field.type is Type.INTEGER and v is not None else v for v in columns.get(field.name, ())]
        for field in fields
    }


def render(
    pod: str,
    workers: int,
    versions: Mapping[Key, Version],
    promoted: Mapping[str, Promotion] = _NO_PROMOTIONS,
    *,
    draining: bool = False,
) -> tuple[bytes, str]:
    """The catalogue's JSON and its ETag. Versions that leave are not in it."""
    entries = tuple(entry(v) for _, v in sorted(versions.items()) if v.state is not VersionState.DRAINING)
    told = {model: promoted[model] for model in sorted(promoted) if any(e.model == model for e in entries)}
    body = msgspec.json.encode(Catalogue(pod=pod, workers=workers, versions=entries, promoted=told, draining=draining))
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
