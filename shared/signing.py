"""Ed25519 signatures over a model version's manifest: the text form that publishers write and scorers read.

One line per signature, `ed25519 <public key> <signature>`, both base64. What is signed are the manifest's bytes, which name the
model, the version and each file's digest, so a signature holds for that version alone. The line carries its key, so anyone
can see whether it fits the manifest; whether the key is trusted is the scorer's business. Reads no files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

#: Beside the manifest in a model package.
FILE = "manifest.json.sig"
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\s*", re.DOTALL)


class SigningError(ValueError):
    """A key or a signature cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature and the raw public key (32 bytes) it says it is of."""

    key: bytes
    signature: bytes

    @property
    def key_id(self) -> str:
        """The key's name for people and in the store."""
        return key_id(self.key)

    def fits(self, manifest: bytes) -> bool:
        """Whether this key did sign these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(self.signature, manifest)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        """The line."""
        return f"ed25519 {base64.b64encode(self.key).decode()} {base64.b64encode(self.signature).decode()}"


def key_id(key: bytes) -> str:
    """16 hex digits of the raw public key's sha256."""
    return hashlib.sha256(key).hexdigest()[:16]


def place(manifest_digest: str, key: str) -> str:
    """Where the store holds the signature of a manifest by a key: under both, so nobody's upload can spoil another's."""
    return f"signatures/{manifest_digest}/{key}"


def sign(private_pem: bytes, manifest: bytes) -> Signed:
    """Raises SigningError unless it is an Ed25519 private key without a passphrase."""
    try:
        key = load_pem_private_key(private_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError("not a private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError("not an Ed25519 key: openssl genpkey -algorithm ed25519 makes one")
    return Signed(_raw(key.public_key()), key.sign(manifest))


def parse(text: str) -> list[Signed]:
    """Every line's signature. Raises SigningError for a line that is none."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        kind, *parts = line.split()
        try:
            key, signature = (base64.b64decode(part, validate=True) for part in parts)
        except (ValueError, binascii.Error) as error:
            raise SigningError(f"{line[:40]!r} is not a signature") from error
        if kind != "ed25519" or len(key) != 32 or len(signature) != 64:
            raise SigningError(f"{line[:40]!r} is not an Ed25519 signature")
        found.append(Signed(key, signature))
    return found


def public_keys(pem: bytes) -> dict[str, bytes]:
    """Raw keys by key id, of every block in the file. Raises SigningError if there is none, or another kind of key."""
    keys = {}
    for block in _PEM.finditer(pem):
        if block[1] != b"PUBLIC KEY":
            raise SigningError(f"holds a {block[1].decode().lower()}, where only public keys belong")
        try:
            key = load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SigningError("a block is not a public key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SigningError("a key is not an Ed25519 key")
        raw = _raw(key)
        keys[key_id(raw)] = raw
    if not keys:
        raise SigningError("no public key in PEM")
    return keys


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
