"""The stand-in's signing keys: one signs, others are published beside it.

As with Entra ID, a new key can be published before it signs, and an old one stays published after it has stopped, so
that tokens out there still verify. `kid` is the RFC 7638 thumbprint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from joserfc.jwk import RSAKey

from devkit.entra.state import write_private

KEYS_FILE = "keys.json"
RSA_BITS = 2048
#: Published keys, the signing one included; the oldest leave.
MAX_PUBLISHED = 4


def make_key() -> RSAKey:
    """A new key; takes about a tenth of a second."""
    return RSAKey.generate_key(RSA_BITS, private=True)


def kid_of(key: RSAKey) -> str:
    """The name by which a key is published."""
    return key.thumbprint()


class SigningKeys:
    """The keys of one folder; every change is written before it is told."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / KEYS_FILE
        self._published: list[RSAKey] = []
        self._current = 0
        try:
            stored = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Any])
            self._published = [RSAKey.import_key(jwk) for jwk in stored["keys"]]
            self._current = int(stored["current"])
        except (OSError, ValueError, KeyError):
            self._published = [make_key()]
            self._save()

    @property
    def current(self) -> RSAKey:
        """The key that signs."""
        return self._published[self._current]

    @property
    def kids(self) -> list[str]:
        """All that are published, oldest first."""
        return [kid_of(key) for key in self._published]

    def rotate(self, *, sign: bool = True, withdraw: bool = False) -> str:
        """Publishes a new key and returns its kid; it signs from now on unless `sign` is false.

        With `withdraw` all other keys stop being published, as after a compromise: their tokens must be refused.
        """
        new = make_key()
        signing = self.current
        self._published = [new] if withdraw else [*self._published, new][-MAX_PUBLISHED:]
        if not withdraw and signing not in self._published:
            self._published[0] = signing
        self._current = len(self._published) - 1 if sign or withdraw else self._published.index(signing)
        self._save()
        return kid_of(new)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The published half, in Entra ID's form: no `alg`, which RFC 7517 leaves open."""
        return {"keys": [_public(key) for key in self._published]}

    def _save(self) -> None:
        stored = {"current": self._current, "keys": [dict(key.as_dict(private=True)) for key in self._published]}
        write_private(self._file, msgspec.json.encode(stored))


def _public(key: RSAKey) -> dict[str, Any]:
    public = key.as_dict(private=False)
    kid = kid_of(key)
    return {"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid, "n": public["n"], "e": public["e"]}
