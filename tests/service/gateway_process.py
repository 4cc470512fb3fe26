"""`python -m gateway` as a process of its own whose neighbours are all away: for tests of how it starts, serves and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from joserfc.jwk import OKPKey

from devkit.policy import FILE
from devkit.state import ROOT

Start = Callable[..., "subprocess.Popen[str]"]


@contextmanager
def gateways(folder: Path, *, stderr: int = subprocess.DEVNULL) -> Iterator[Start]:
    """Starts one with its settings as keywords; all are killed at the end. Its log comes on stdout, stderr where `stderr` says."""
    key = folder / "key.pem"
    key.write_bytes(OKPKey.generate_key("Ed25519", private=True).as_pem(private=True))
    settings = {
        "GATEWAY_PORT": "0",
        "GATEWAY_INTERNAL_PORT": "0",
        "GATEWAY_SCORER_URLS": "http://127.0.0.1:9",
        "GATEWAY_INTERNAL_KEY_FILE": str(key),
        "GATEWAY_POLICY_FILE": str(FILE),
        "GATEWAY_TENANTS": "11111111-1111-4111-8111-111111111111",
        "GATEWAY_AUDIENCES": "api://scoregate",
        "GATEWAY_AUTHORITY": "https://127.0.0.1:9",
    }
    started: list[subprocess.Popen[str]] = []

    def start(**changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env=os.environ | settings | changes,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()
