"""What this pod tells gateways about its versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scorer.core.calls import Key
from scorer.core.states import VersionState
from scorer.core.version import Version
from shared.catalogue import Catalogue, Promotion, VersionEntry
from shared.signature import Field, Signature, Type

_NO_PROMOTIONS: Mapping[str, Promotion] = {}
_PUBLIC_STATE = {VersionState.READY: "ready", VersionState.UNAVAILABLE: "unavailable"}


def entry(version: Version) -> VersionEntry:
    """What gateways learn about a version; one without a readable manifest has an empty signature."""
    known = VersionEntry(
        model=version.model,
        version=version.version,
        state=_PUBLIC_STATE.get(version.state, "loading"),
        reason=version.reason,
        digest=version.digest,
        signature=Signature(inputs=(), outputs=()),
    )
    manifest = version.manifest
    if manifest is None:
        return known
    return msgspec.structs.replace(
        known,
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
