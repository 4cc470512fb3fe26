"""Where things stand in a model store: what publishers write, and scorers read.

    blobs/sha256/<hex>                        each file once, by its digest
    signatures/<manifest's sha256>/<key id>   signatures of a manifest, before it (`shared.signing.place`)
    models/<name>/<version>/manifest.json     created last and only if absent: the one commit
    models/<name>/<version>/retracted         takes the version back; the manifest stays as it is
    models/<name>/promoted                    names the version that serves by default; the last writer wins

Keys are relative to the store's URL.
"""

from __future__ import annotations

import re

import msgspec

#: Of a manifest.
FORMAT = "scoregate.model/1"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: What the keys under `MODELS` are; groups are a model's name and, but for `PROMOTED`, a version: any text without a slash.
MODELS = "models"
MANIFEST = re.compile(r"models/([^/]+)/([^/]+)/manifest\.json")
RETRACTED = re.compile(r"models/([^/]+)/([^/]+)/retracted")
PROMOTED = re.compile(r"models/([^/]+)/promoted")


class Promoted(msgspec.Struct):
    """What stands at `promoted_key`, as JSON."""

    version: str


def manifest_key(model: str, version: str) -> str:
    """The version's manifest."""
    return f"models/{model}/{version}/manifest.json"


def retracted_key(model: str, version: str) -> str:
    """The note that takes the version back."""
    return f"models/{model}/{version}/retracted"


def promoted_key(model: str) -> str:
    """The note of the version that serves by default."""
    return f"models/{model}/promoted"


def blob_key(sha256: str) -> str:
    """A file, by its digest in hex."""
    return f"blobs/sha256/{sha256}"
