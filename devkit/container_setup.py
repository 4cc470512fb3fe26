"""`python -m devkit.container_setup ENTRA GATEWAY SCORER`: what must exist before the containers of compose.yaml can start.

Makes the stand-in's certificate authority in the folder ENTRA and the key pair between the services, and gives each service
what it may have: the gateway the private key and the authority's certificate, the scorer the public key. Keys that exist
stay.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from devkit import certificates, internal_key


def main(entra: Path, gateway: Path, scorer: Path) -> None:
    """The three folders must exist and be writable."""
    internal_key.ensure(gateway / "internal.key.pem", scorer / "internal.pub.pem")
    certificate = certificates.ensure(entra, "entra")
    shutil.copyfile(certificate.ca_file, gateway / "ca.pem")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
