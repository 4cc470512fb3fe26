"""Signatures over manifests: which are taken, and what is said of those that are not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from scorer.core.trust import UntrustedError, check_trust
from shared.signing import SigningError, parse, public_keys, sign

MANIFEST = b'{"name": "m"}'


def pem(key: Ed25519PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public(*keys: Ed25519PrivateKey) -> bytes:
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return b"# of the release team\n".join([b"", *(key.public_key().public_bytes(*form) for key in keys)])


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def test_a_signature_by_any_trusted_key_is_enough(key: Ed25519PrivateKey) -> None:
    other = Ed25519PrivateKey.generate()
    trusted = public_keys(public(other, key))
    signed = sign(pem(key), MANIFEST)
    assert check_trust(MANIFEST, [sign(pem(Ed25519PrivateKey.generate()), MANIFEST), signed], trusted) == signed.key_id


def test_what_is_written_is_read_back_and_signing_twice_is_the_same(key: Ed25519PrivateKey) -> None:
    signed = sign(pem(key), MANIFEST)
    assert parse(f"\n{signed}\n") == [signed] == [sign(pem(key), MANIFEST)]


def test_a_manifest_without_a_signature_is_refused_and_told_what_to_do(key: Ed25519PrivateKey) -> None:
    with pytest.raises(UntrustedError, match=r"not signed.*scoregate sign"):
        check_trust(MANIFEST, [], public_keys(public(key)))


def test_a_signature_by_another_key_is_refused_by_that_keys_id(key: Ed25519PrivateKey) -> None:
    stranger = sign(pem(Ed25519PrivateKey.generate()), MANIFEST)
    with pytest.raises(UntrustedError, match=f"signed only by key {stranger.key_id}"):
        check_trust(MANIFEST, [stranger], public_keys(public(key)))


def test_a_signature_of_another_manifest_is_refused(key: Ed25519PrivateKey) -> None:
    with pytest.raises(UntrustedError, match="does not fit the manifest"):
        check_trust(MANIFEST + b" ", [sign(pem(key), MANIFEST)], public_keys(public(key)))


def test_a_line_that_claims_a_trusted_key_but_is_not_by_it_is_refused(key: Ed25519PrivateKey) -> None:
    mine, theirs = sign(pem(key), MANIFEST), sign(pem(Ed25519PrivateKey.generate()), MANIFEST)
    [forged] = parse(str(mine).rpartition(" ")[0] + " " + str(theirs).rpartition(" ")[2])
    with pytest.raises(UntrustedError, match="does not fit"):
        check_trust(MANIFEST, [forged], public_keys(public(key)))


@pytest.mark.parametrize("line", ["x", "ed25519", "ed25519 AAAA AAAA", "ed25519 ? ?", "rsa AAAA AAAA", "ed25519 a b c"])
def test_what_is_not_a_signature_is_refused(line: str) -> None:
    with pytest.raises(SigningError, match="is not a"):
        parse(line)


def test_keys_of_another_kind_are_refused_with_what_to_do(key: Ed25519PrivateKey) -> None:
    curve = generate_private_key(SECP256R1())
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(SigningError, match="genpkey -algorithm ed25519"):
        sign(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), MANIFEST)
    with pytest.raises(SigningError, match="without a passphrase"):
        sign(pem(key, BestAvailableEncryption(b"secret")), MANIFEST)
    with pytest.raises(SigningError, match="not a private key"):
        sign(b"nonsense", MANIFEST)
    with pytest.raises(SigningError, match="not an Ed25519 key"):
        public_keys(public(key) + curve.public_key().public_bytes(*form))
    with pytest.raises(SigningError, match="no public key"):
        public_keys(b"")


def test_a_private_key_among_the_trusted_ones_is_refused(key: Ed25519PrivateKey) -> None:
    with pytest.raises(SigningError, match="private key, where only public keys belong"):
        public_keys(public(key) + pem(key))
