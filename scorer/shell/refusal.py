"""Why a version is not served: each error that may end its loading, as the reason that is reported and whether it may pass.

The one place where errors of the store, the cache, R and the manifest are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from scorer.core.manifest import ManifestError
from scorer.core.memory import DoesNotFitError
from scorer.core.trust import UntrustedError
from scorer.shell.cache import CacheError, CorruptError
from scorer.shell.self_test import RefusedError
from scorer.shell.store import StoreError
from scorer.shell.zygote import ZygoteError
from shared.wire import WireError


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason; `transient`: it may pass, so that the version is tried again; `seldom`: with the longest pauses."""

    reason: str
    transient: bool = False
    seldom: bool = False


def refusal_of(error: Exception) -> Refusal | None:
    """What an error says about the version; None if nothing: it is a bug of ours."""
    match error:
        case StoreError():
            return Refusal(f"the store cannot be read: {error}", transient=True)
        case CacheError():
            return Refusal(f"the cache cannot be written: {error}", transient=True)
        case UntrustedError():  # it may yet be signed
            return Refusal(str(error), transient=True)
        case DoesNotFitError():  # another may leave
            return Refusal(str(error), transient=True)
        case ZygoteError():
            return Refusal(str(error), transient=error.transient)
        case CorruptError():  # it may be mended; fetching it may take long
            return Refusal(str(error), transient=True, seldom=True)
        case RefusedError() | ManifestError() | WireError():
            return Refusal(str(error))
        case OSError():
            return Refusal(f"R cannot be started: {error}", transient=True)
        case _:
            return None
