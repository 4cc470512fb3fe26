"""Which versions this pod should have, and whether it is ready: what is still missing, by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scorer.core.calls import Key
from scorer.core.states import VersionState
from scorer.core.version import Version


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


class Readiness:
    """The pod's, over time: once ready, it stays so while it serves anything."""

    def __init__(self) -> None:
        self._was_ready = False

    def missing(self, versions: Iterable[Version], not_in_store: Sequence[str], store_error: str | None) -> list[str]:
        """Why the pod is not ready; empty if it is. Asking may make it ready for good: see the class."""
        known = list(versions)
        served = any(version.state is VersionState.READY for version in known)
        if (self._was_ready and served) or settled(known):
            self._was_ready = True
            return []
        reasons = [] if store_error is None else [f"store: {store_error}"]
        reasons += [f"{v.model} {v.version}: {v.reason or v.state}" for v in known if v.state is not VersionState.READY]
        reasons += [f"{name} is not in the store" for name in not_in_store]
        return reasons or ["the store has no model"]
