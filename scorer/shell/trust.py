"""The keys whose signatures a version needs, where `SCORER_TRUSTED_KEYS` names a file of them.

The file is read at each load of a version, so keys rotate without a restart: add, sign anew, remove. What is served already is
not asked again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scorer.core.trust import UntrustedError, check_trust
from shared.signing import Signed, SigningError, public_keys


class TrustedKeys:
    """Checks that somebody trusted has signed a manifest."""

    def __init__(self, file: str) -> None:
        """Raises OSError or ValueError if the file has no usable key: with it, no version could be served."""
        self._file = Path(file)
        self._read()

    def _read(self) -> dict[str, bytes]:
        try:
            return public_keys(self._file.read_bytes())
        except SigningError as error:
            raise SigningError(f"SCORER_TRUSTED_KEYS: {self._file}: {error}") from error

    def check(self, manifest: bytes, signatures: Iterable[Signed]) -> str:
        """The id of the key that signed it. Raises UntrustedError; also while the file cannot be read."""
        try:
            trusted = self._read()
        except (OSError, SigningError) as error:
            raise UntrustedError(f"the trusted keys cannot be read: {error}") from error
        return check_trust(manifest, signatures, trusted)
