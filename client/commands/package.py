"""`scoregate package`: a fitted model in a file into a model package, by the R package's package_model()."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from client import r
from client.connection import UsageError
from client.store import Manifest, read_package
from client.terminal import out, say

# Arguments: model.rds, sample.csv, name, version, dir, description. The sample is read as R's users read theirs.
_PACKAGE = """
a <- commandArgs(TRUE)
model <- readRDS(a[[1L]])
sample <- utils::read.csv(a[[2L]], stringsAsFactors = FALSE, check.names = FALSE, encoding = "UTF-8")
sample <- sample[, names(sample) != "", drop = FALSE]
invisible(scoregate::package_model(model, name = a[[3L]], version = a[[4L]], sample = sample, dir = a[[5L]]))
"""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def package(
    model: Annotated[Path, typer.Argument(metavar="MODEL.rds", help="A fitted model, saved by saveRDS().")],
    sample: Annotated[
        Path, typer.Option(help="A CSV of rows like those the model was fitted on; the more alike, the better.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Small letters, digits, dashes; by default made of the file's name.")
    ] = None,
    version: Annotated[str, typer.Option(help="N, N.N or N.N.N; -suffix for one that never serves by default.")] = "1",
    folder: Annotated[Path | None, typer.Option("--out", help="Folder to make; by default NAME-VERSION.")] = None,
) -> None:
    """Make a model package from a file with a fitted model. R proves first that it scores, alone and in batches.

    [dim]scoregate package boston.rds --sample boston.csv --name boston-housing[/dim]
    """
    name = name or name_of(model)
    folder = folder or Path(f"{name}-{version}")
    manifest = make_package(model, sample, name, version, folder)
    out(f"{folder}: {manifest.name} {manifest.version}")
    say(f"publish it with: scoregate publish {folder} --store file:///…")


def name_of(model: Path) -> str:
    """A model's name made of its file's. Raises UsageError if nothing is left of it."""
    name = re.sub(r"[^a-z0-9]+", "-", model.stem.lower()).strip("-")[:63].rstrip("-")
    if not name:
        raise UsageError(f"no name can be made of {model.name}; give --name")
    return name


def make_package(model: Path, sample: Path, name: str, version: str, folder: Path) -> Manifest:
    """Runs R; the package is in `folder` afterwards. Raises UsageError for arguments, RError with R's reason."""
    for path in (model, sample):
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a model name: small letters, digits and dashes, at most 63")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists and is not empty; give --out")
    existed = folder.exists()
    try:
        r.run(["-e", _PACKAGE, str(model.resolve()), str(sample.resolve()), name, version, str(folder.resolve())])
    except r.RError:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return read_package(folder)[0]
