"""`python -m devkit.smoke GATEWAY_URL <manifest.json`: scores a model's own example and compares, bit for bit.

The token is in SCOREGATE_TOKEN. SCOREGATE_CA_FILE names certificates to trust besides the system's; they need not be roots (the
chain of a certificate that nobody trusts, got from a safe place). Exit code 0 if the gateway answers what the manifest says R
answered, else 1 and the reason.
"""

from __future__ import annotations

import os
import ssl
import sys
from typing import Any

import httpx
import msgspec

from devkit.examples import rows_to_send


def check(gateway_url: str, token: str, manifest: dict[str, Any], ca_file: str | None = None) -> str:
    """What to say if all is well; raises ValueError with what is not."""
    name, version = manifest["name"], manifest["version"]
    expected = manifest["example"]["outputs"]
    rows = rows_to_send(manifest)
    if len(rows) != len(next(iter(expected.values()))):
        raise ValueError("the example has rows that JSON cannot carry")
    trust = ssl.create_default_context()
    if ca_file:
        trust.load_verify_locations(ca_file)
        trust.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    answer = httpx.post(
        f"{gateway_url}/v1/models/{name}/versions/{version}/score",
        json={"rows": rows},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
        trust_env=False,
        verify=trust,
    )
    if answer.status_code != httpx.codes.OK:
        raise ValueError(f"{answer.status_code}: {answer.text}")
    predictions = answer.json()["predictions"]
    if manifest["signature"].get("kind", "vector") == "table":
        predictions = {column: [row[column] for row in predictions] for column in expected}
    else:
        predictions = {"prediction": predictions}
    if predictions != expected:
        raise ValueError(f"the answer is {predictions}, the manifest says {expected}")
    return f"{name} {version}: {len(rows)} rows scored, 0 bits differ"


if __name__ == "__main__":
    try:
        manifest = msgspec.json.decode(sys.stdin.buffer.read())
        print(check(sys.argv[1], os.environ["SCOREGATE_TOKEN"], manifest, os.environ.get("SCOREGATE_CA_FILE")))
    except (ValueError, httpx.HTTPError) as problem:
        sys.exit(f"not well: {problem}")
