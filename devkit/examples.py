"""The example models: trained by their own `train.R`, kept as packages, published where a stack's store has none yet.

A package is kept under `.dev/packages` by what made it (the example's folder and the R package), so a second stack only
publishes. A store that has any version of a model is left as it is: a published version never changes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import obstore
from obstore.store import from_url

from devkit import r
from devkit.processes import Processes
from devkit.state import DEV, ROOT

FOLDER = ROOT / "examples" / "models"
#: The reference model of the architecture.
REFERENCE = "boston-housing"
_PUBLISH = "a <- commandArgs(TRUE); invisible(scoregate::publish_model(a[[1L]], a[[2L]]))"


def names(folder: Path = FOLDER) -> list[str]:
    """Every example, by name."""
    return sorted(path.parent.name for path in folder.glob("*/train.R"))


def not_in_store(store_url: str, wanted: list[str]) -> list[str]:
    """Those of `wanted` of which the store has no published version."""
    store = from_url(store_url, mkdir=True) if store_url.startswith("file:") else from_url(store_url)
    missing = []
    for name in wanted:
        objects = [entry["path"] for chunk in obstore.list(store, prefix=f"models/{name}") for entry in chunk]
        if not any(path.endswith("/manifest.json") for path in objects):
            missing.append(name)
    return missing


async def publish(store_url: str, processes: Processes, say: Callable[[str], None]) -> None:
    """Sees to it that the store has every example. As many at once as there are cores; raises ProcessEndedError."""
    missing = await asyncio.to_thread(not_in_store, store_url, names())
    if not missing:
        return
    library = await asyncio.to_thread(r.digest, r.SOURCE)
    cores = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    env = os.environ | r.environment()

    async def one(name: str) -> None:
        async with cores:
            began = time.monotonic()
            package = await _train(name, library, processes, env)
            await processes.run("examples", ["Rscript", "-e", _PUBLISH, str(package), store_url], env, ROOT)
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
            shutil.rmtree(package, ignore_errors=True)
            (building / "package").rename(package)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return package


def example_rows(store: Path, name: str, count: int = 1) -> list[dict[str, object]] | None:
    """The first rows of a model's example, from the manifest in a store that is a folder; None if it has none."""
    for manifest in sorted(store.glob(f"models/{name}/*/manifest.json")):
        inputs = msgspec.json.decode(manifest.read_bytes())["example"]["inputs"]
        return [dict(zip(inputs, row, strict=True)) for row in list(zip(*inputs.values(), strict=True))[:count]]
    return None
