"""Whether a manifest is signed by somebody this scorer trusts (`SCORER_TRUSTED_KEYS`). Decides; reads nothing.

A publisher runs code in the scorer. Write access to the store is the first boundary; with trusted keys a version needs, besides
that, a signature over its manifest, and through the manifest's digests over every file of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.signing import Signed


class UntrustedError(Exception):
    """No trusted key has signed the manifest; the message says what there is instead."""


def check_trust(
    manifest: bytes, signatures: Iterable[Signed], trusted: Mapping[str, bytes], others: Iterable[str] = ()
) -> str:
    """The id of the trusted key whose signature fits. Raises UntrustedError.

    `trusted` are raw public keys by id. One good signature is enough: further ones may be by keys that are no longer trusted.
    `others` are ids of keys whose signatures were not read, for the message.
    """
    strangers = list(others)
    wrong: list[str] = []
    for signed in signatures:
        if trusted.get(signed.key_id) != signed.key:
            strangers.append(signed.key_id)
        elif signed.fits(manifest):
            return signed.key_id
        else:
            wrong.append(signed.key_id)
    if wrong:
        raise UntrustedError(
            f"the signature by key {wrong[0]} does not fit the manifest: it was signed for another one"
        )
    if strangers:
        raise UntrustedError(f"signed only by key {', '.join(strangers)}, which SCORER_TRUSTED_KEYS does not have")
    raise UntrustedError("not signed, and SCORER_TRUSTED_KEYS asks for it: scoregate sign, then publish it again")
