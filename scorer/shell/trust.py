"""The keys whose signatures a version needs, where `SCORER_TRUSTED_KEYS` names a file of them.

The file is read at each load of a version, so keys rotate without a restart: add, sign anew, remove. What is served already is
not asked again.
"""

from __future__ import annotations

from pathlib import Path

from scorer.core.trust import UntrustedError
from shared.signing import SigningError, public_keys


class TrustedKeys:
    """Who may sign, read anew whenever it is asked."""

    def __init__(self, file: str) -> None:
        """Raises SigningError if the file has no usable key: with it, no version could be served."""
        self._file = Path(file)
        self._read()

    def _read(self) -> dict[str, bytes]:
        try:
            return public_keys(self._file.read_bytes())
        except OSError as error:
            raise SigningError(f"SCORER_TRUSTED_KEYS: {self._file}: {error.strerror}") from error
        except SigningError as error:
            raise SigningError(f"SCORER_TRUSTED_KEYS: {self._file}: {error}") from error

    def keys(self) -> dict[str, bytes]:
        """Raw public keys by id, as the file has them now. Raises UntrustedError while it cannot be read."""
        try:
            return self._read()
        except SigningError as error:
            raise UntrustedError(f"the trusted keys cannot be read: {error}") from error
