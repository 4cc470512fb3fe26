"""A real Azurite for tests: started, killed and started again with what it had, on loopback over http."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest

from devkit import azurite
from tests.support import eventually

#: Azurite's documented account; its key protects nothing.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "models"


class Azurite:
    """An Azurite with one container. `url` is the store."""

    url = f"az://{CONTAINER}/scoregate"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it listens; the second time on the port it had."""
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder)]
        self.process = subprocess.Popen(
            [*azurite.program(), *where, "--skipApiVersionCheck", "--silent"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if match := re.search(r"successfully listens on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                return
        pytest.fail(f"Azurite did not start: {said}")

    def saved(self, *paths: str) -> None:
        """Wait until it has written down (it does so every few seconds) that it has these; a kill loses what came later."""
        blobs, extents = (self.folder / f"__azurite_db_{name}__.json" for name in ("blob", "blob_extent"))

        def written() -> bool:
            text, known = blobs.read_text(), extents.read_text()
            ids = set(re.findall(r'"id":"([0-9a-f-]{36})"', text))
            return CONTAINER in text and all(path in text for path in paths) and all(one in known for one in ids)

        eventually(written, within_s=40, what="Azurite has saved what it was given")

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    @property
    def endpoint(self) -> str:
        """Of the account."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def environment(self) -> dict[str, str]:
        """For obstore, with the account's key."""
        return self._environment(AZURE_STORAGE_ACCOUNT_KEY=KEY)

    @property
    def read_only(self) -> dict[str, str]:
        """For obstore, with a SAS that may read and list for an hour."""
        return self._environment(AZURE_STORAGE_SAS_TOKEN=self.sas("rl"))

    def _environment(self, **credential: str) -> dict[str, str]:
        there = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": self.endpoint}
        return there | {"AZURE_ALLOW_HTTP": "true"} | credential

    def create_container(self) -> None:
        """By a request that the account's key signs (learn.microsoft.com, Authorize with Shared Key)."""
        headers = {"x-ms-date": f"{dt.datetime.now(dt.UTC):%a, %d %b %Y %H:%M:%S GMT}", "x-ms-version": "2020-12-06"}
        signed = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in sorted(headers.items()))]
        signed.append(f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container")
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{_hmac(signed)}"
        httpx.put(f"{self.endpoint}/{CONTAINER}?restype=container", headers=headers).raise_for_status()

    def sas(self, permissions: str) -> str:
        """A service SAS of the container (version 2020-12-06 of its string to sign)."""
        until = f"{dt.datetime.now(dt.UTC) + dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        resource = f"/blob/{ACCOUNT}/{CONTAINER}"
        fields = [permissions, "", until, resource, "", "", "", "2020-12-06", "c", "", "", "", "", "", "", ""]
        query = {"sp": permissions, "se": until, "sv": "2020-12-06", "sr": "c", "sig": _hmac(fields)}
        return urlencode(query, quote_via=quote)


def _hmac(lines: list[str]) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)).decode()


@contextmanager
def running(folder: Path) -> Iterator[Azurite]:
    """One with an empty container."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Azurite(folder)
    server.start()
    try:
        server.create_container()
        yield server
    finally:
        server.kill()
