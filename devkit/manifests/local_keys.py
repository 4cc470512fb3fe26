"""The keys that a cluster on this machine needs, for k8s/overlays/local to take up: made here, never in git.

The pair between gateway and scorer, the authority of the stand-in for Entra ID (the gateway must be told to trust it before
the stand-in runs), the account key of Azurite, and the policy of `./dev up`. Keys that exist stay.
"""

from __future__ import annotations

import base64
import secrets
import shutil
from pathlib import Path

from devkit import certificates, internal_key
from devkit.state import ROOT

#: Azurite's account, in overlays/local/scorer.env too.
ACCOUNT = "scoregate"


def ensure(folder: Path) -> None:
    """Fills the folder (0700)."""
    certificate = certificates.ensure(folder, "entra", ["entra"])
    for own in (certificate.cert_file, certificate.key_file):  # the stand-in makes itself one when it starts
        own.unlink()
    internal_key.ensure(folder / "internal.key.pem", folder / "internal.pub.pem")
    account = folder / "azurite.env"
    if not account.exists():
        key = base64.b64encode(secrets.token_bytes(64)).decode()
        account.touch(mode=0o600)
        account.write_text(f"AZURITE_ACCOUNTS={ACCOUNT}:{key}\nAZURE_STORAGE_ACCOUNT_KEY={key}\n", encoding="utf-8")
    shutil.copyfile(ROOT / "devkit" / "policy.yaml", folder / "policy.yaml")
