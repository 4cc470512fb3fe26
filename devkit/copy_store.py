"""`python -m devkit.copy_store FROM TO`: everything a model store has, to another that may lack it. compose.yaml's one-shot.

Waits for the other store to answer, and makes its container where it is Azurite's, which starts empty. Files first, manifests
last and only if absent, as publishing does: what is there stays as it is, and a copy that was cut off goes on the next time.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import os
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import obstore
from obstore.store import ObjectStore, from_url

_WITHIN_S = 120.0
_EVERY_S = 1.0


def copy(source: ObjectStore, target: ObjectStore) -> list[str]:
    """Paths of the manifests that the target did not have. Raises obstore's errors."""
    paths = sorted(entry["path"] for batch in obstore.list(source) for entry in batch)
    made = []
    for path in sorted(paths, key=lambda path: path.endswith("/manifest.json")):
        content = bytes(obstore.get(source, path).bytes())
        try:
            obstore.put(target, path, content, mode="create")
        except (FileExistsError, obstore.exceptions.AlreadyExistsError):
            continue
        if path.endswith("/manifest.json"):
            made.append(path)
    return made


def create_container(url: str) -> None:
    """The container of an `az://` store, by a request that the account's key signs (learn.microsoft.com, Shared Key).

    Nothing for other stores, or if it exists. Raises OSError, of which urllib's errors are.
    """
    container, scheme = urlsplit(url).netloc, urlsplit(url).scheme
    if scheme != "az" or "AZURE_STORAGE_ACCOUNT_KEY" not in os.environ:
        return
    account = os.environ["AZURE_STORAGE_ACCOUNT_NAME"]
    endpoint = os.environ.get("AZURE_STORAGE_ENDPOINT", f"https://{account}.blob.core.windows.net")
    headers = {"x-ms-date": f"{dt.datetime.now(dt.UTC):%a, %d %b %Y %H:%M:%S GMT}", "x-ms-version": "2020-12-06"}
    signed = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in sorted(headers.items()))]
    signed.append(f"/{account}{urlsplit(endpoint).path}/{container}\nrestype:container")
    key = base64.b64decode(os.environ["AZURE_STORAGE_ACCOUNT_KEY"])
    signature = base64.b64encode(hmac.digest(key, "\n".join(signed).encode(), hashlib.sha256)).decode()
    headers["Authorization"] = f"SharedKey {account}:{signature}"
    request = urllib.request.Request(f"{endpoint}/{container}?restype=container", method="PUT", headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - the operator's own address
            return
    except urllib.error.HTTPError as error:
        if error.code != 409:  # it is there
            raise


def main(arguments: list[str]) -> int:
    """The exit code: 0 once all is there, 1 with the reason if it is not within two minutes, 2 for wrong usage."""
    if len(arguments) != 2 or arguments[0] in {"-h", "--help"}:
        print(__doc__)
        return 2
    until = time.monotonic() + _WITHIN_S
    while True:
        try:
            create_container(arguments[1])
            made = copy(from_url(arguments[0]), from_url(arguments[1]))
        except (OSError, obstore.exceptions.BaseError) as error:
            if time.monotonic() > until:
                print(f"{arguments[1]}: {error}", file=sys.stderr)
                return 1
            print(f"waiting for {arguments[1]}: {type(error).__name__}", file=sys.stderr)
            time.sleep(_EVERY_S)
        else:
            for path in made:
                print(f"published {path.removeprefix('models/').removesuffix('/manifest.json')}")
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
