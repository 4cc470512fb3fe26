"""What a scorer tells gateways about the model versions it has: the body of `GET /internal/catalogue`."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.signature import Signature


class VersionEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model version in one pod. `digest` (sha256 of the manifest) names the contract: the same digest, the same contract."""

    model: str
    version: str
    state: str  # "ready", "loading" or "unavailable"
    reason: str | None = None
    digest: str
    signature: Signature
    description: str = ""
    created: str = ""
    model_class: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    r_version: str = ""
    batchable: bool = True
    batchable_reason: str | None = None
    close: bool = False  # the example reproduced within 1e-9 relative, not exactly
    retry: bool = True
    example: dict[str, Any] = {}  # {"inputs": {name: [..]}, "outputs": {name: [..]}}, as in the manifest


class Promotion(msgspec.Struct, frozen=True):
    """The version an operator chose to serve by default, and when, by the store's clock (seconds since 1970)."""

    version: str
    at: float


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of one pod, and how many predictions it runs at once. `promoted` as the pod saw it last, by model.

    `draining`: the pod is about to go and serves until then; whoever can ask another should.
    """

    pod: str
    workers: int
    versions: tuple[VersionEntry, ...]
    promoted: dict[str, Promotion] = {}
    draining: bool = False


def version_key(version: str) -> tuple[tuple[int, ...], str]:
    """Sort key of `N[.N[.N]][-suffix]`: numbers by value, `1` equals `1.0.0`; raises ValueError for anything else.

    Numbers have no leading zeros: `01` and `1` would be two versions of the same rank.
    """
    number, _, suffix = version.partition("-")
    parts = number.split(".")
    if not 1 <= len(parts) <= 3 or not all(p.isascii() and p.isdigit() and len(p) <= 9 for p in parts):
        raise ValueError(f"{version!r} is not N[.N[.N]][-suffix]")
    if any(len(p) > 1 and p[0] == "0" for p in parts):
        raise ValueError(f"{version!r} has a number with a leading zero")
    if "-" in version and not (suffix and all(c.isascii() and (c.isalnum() or c in "._-") for c in suffix)):
        raise ValueError(f"{version!r} has a suffix that is not letters, digits, dot, dash")
    return tuple(int(p) for p in (*parts, "0", "0")[:3]), suffix


def serves_by_default(version: str) -> bool:
    """A version with a suffix is served only to those who name it."""
    return "-" not in version
