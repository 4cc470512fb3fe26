"""The example models: trained by their own `train.R`, kept as packages, published where a stack's store has none yet.

A package is kept under `.dev/packages` by what made it (the example's folder and the R package), so a second stack only
publishes. A model of which the store has any version is left as it is: a published version never changes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import obstore
from obstore.store import from_url

from client.examples import example_rows
from devkit import r
from devkit.processes import Processes
from devkit.state import DEV, ROOT
from shared.signature import Signature
from shared.store_layout import MANIFEST, MODELS, manifest_key

FOLDER = ROOT / "examples" / "models"
#: The reference model of the architecture.
REFERENCE = "boston-housing"


def names(folder: Path = FOLDER) -> list[str]:
    """Every example, by name."""
    return sorted(path.parent.name for path in folder.glob("*/train.R"))


def in_store(store_url: str) -> set[str]:
    """The models of which the store has any version."""
    store = from_url(store_url, mkdir=True) if store_url.startswith("file:") else from_url(store_url)
    paths = [entry["path"] for chunk in obstore.list(store, prefix=MODELS) for entry in chunk]
    return {found[1] for path in paths if (found := MANIFEST.fullmatch(path))}


async def publish(
    store_url: str, processes: Processes, say: Callable[[str], None], *, only_if_empty: bool = False
) -> None:
    """Sees to it that the store has every example. As many at once as there are cores; raises ProcessEndedError.

    `only_if_empty` is for a store of the user's own: it is left alone if it has any model at all.
    """
    published = await asyncio.to_thread(in_store, store_url)
    missing = [name for name in names() if name not in published]
    if not missing or (only_if_empty and published):
        return
    library = await asyncio.to_thread(r.digest, r.SOURCE)
    cores = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    env = os.environ | r.environment()

    async def one(name: str) -> None:
        async with cores:
            began = time.monotonic()
            package = await _train(name, library, processes, env)
            await processes.run("examples", ["Rscript", *r.publishing(package, store_url)], env, ROOT)
            say(f"published {name} ({time.monotonic() - began:.1f} s)")

    say(f"training and publishing {', '.join(missing)}")
    async with asyncio.TaskGroup() as group:
        for name in missing:
            group.create_task(one(name))


async def _train(name: str, library: str, processes: Processes, env: dict[str, str]) -> Path:
    source = FOLDER / name
    package = DEV / "packages" / f"{name}-{library[:8]}-{(await asyncio.to_thread(r.digest, source))[:8]}"
    if not (package / "manifest.json").exists():
        package.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=package.parent))
        try:
            await processes.run("examples", ["Rscript", "train.R", str(building / "package")], env, source)
            try:
                (building / "package").rename(package)
            except OSError:
                if not (package / "manifest.json").exists():  # else another ./dev was faster
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return package


def first_row(store: Path, name: str) -> dict[str, Any] | None:
    """A row of a model's example, as one would send it, from the manifest in a store that is a folder; None without one."""
    for file in sorted(store.glob(manifest_key(name, "*"))):
        for row in rows_to_send(msgspec.json.decode(file.read_bytes())):
            return row
    return None


def rows_to_send(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs of a manifest's example as rows of a request; those that JSON cannot carry are left out."""
    signature = msgspec.convert(manifest["signature"], Signature)
    return example_rows(signature.inputs, manifest["example"]["inputs"])
