"""The stand-in for Entra ID as a container of compose.yaml, which also makes what the other containers must be given.

The gateway gets the private half of the key pair between the services and the certificate authority to trust, the scorer
the public half; each has a volume of its own for that. Keys that exist stay.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from devkit import certificates, internal_key
from devkit.entra import __main__ as entra

STATE, FOR_GATEWAY, FOR_SCORER = Path("/entra"), Path("/for-gateway"), Path("/for-scorer")


def main() -> int:
    """Serves until told to stop; arguments go to the stand-in."""
    internal_key.ensure(FOR_GATEWAY / "internal.key.pem", FOR_SCORER / "internal.pub.pem")
    certificate = certificates.ensure(STATE, "entra")
    shutil.copyfile(certificate.ca_file, FOR_GATEWAY / "ca.pem")
    return entra.main(["--host", "0.0.0.0", "--port", "8443", "--state", str(STATE), *sys.argv[1:]])  # noqa: S104


if __name__ == "__main__":
    sys.exit(main())
