"""`scoregate package`: a fitted model in a file into a model package, by the R package's package_model()."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from client import r
from client.connection import UsageError
from client.store import Manifest, read_package
from client.terminal import out, say
from shared.catalogue import version_key
from shared.store_layout import MODEL_NAME


def package(
    model: Annotated[Path, typer.Argument(metavar="MODEL.rds", help="A fitted model, saved by saveRDS().")],
    *,
    sample: Annotated[
        Path, typer.Option(help="A CSV of rows like those the model was fitted on; the more alike, the better.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Small letters, digits, dashes; by default of the file's name.")
    ] = None,
    version: Annotated[str, typer.Option(help="N, N.N or N.N.N; a -suffix never serves by default.")] = "1",
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to make; by default NAME-VERSION.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="One sentence for those who list models.")] = None,
    predict: Annotated[
        Path | None,
        typer.Option(metavar="SCORE.R", help="Defines predict_model(model, newdata), instead of the class's way."),
    ] = None,
    file: Annotated[list[Path] | None, typer.Option(help="A further .R file that it uses; may be repeated.")] = None,
    uses: Annotated[list[str] | None, typer.Option("--package", help="An R package it needs; may be repeated.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--input", help="A column it takes, where that cannot be told; may be repeated.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COLUMN=TYPE", help="double, integer, logical, string, factor, date, datetime."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the class's way to predict.")
    ] = None,
    interval: Annotated[str | None, typer.Option(help="prediction or confidence: answers fit, lwr and upr.")] = None,
    level: Annotated[float | None, typer.Option(help="Of the interval.")] = None,
    slim: Annotated[
        bool, typer.Option("--slim", help="Leave out what predicting does not need, proved to change no answer.")
    ] = False,
) -> None:
    """Make a model package from a file with a fitted model. R proves first that it scores, alone and in batches.

    Functions are packaged in R, by package_function().

    [dim]scoregate package boston.rds --sample boston.csv --name boston-housing[/dim]
    [dim]scoregate package fit.rds --sample cars.csv --interval prediction[/dim]
    """
    if level is not None and interval is None:
        raise UsageError("--level is that of an interval: give --interval prediction or confidence too")
    more: list[str] = []
    for flag, value in (
        ("--description", description),
        ("--predict", predict and predict.resolve()),
        ("--interval", interval),
        ("--level", level),
    ):
        more += [flag, str(value)] if value is not None else []
    for flag, values in (
        ("--file", [path.resolve() for path in file or []]),
        ("--package", uses),
        ("--input", column),
        ("--type", kind),
        ("--option", option),
    ):
        for item in values or []:
            more += [flag, str(item)]
    name = name or name_of(model)
    folder = folder or Path(f"{name}-{version}")
    manifest = make_package(model, sample, name, version, folder, more=[*more, *(["--slim"] if slim else [])])
    out(f"{folder}: {manifest.name} {manifest.version}")
    say(f"publish it with: scoregate publish {folder} --store file:///…")


def name_of(model: Path) -> str:
    """A model's name made of its file's. Raises UsageError if nothing is left of it."""
    name = re.sub(r"[^a-z0-9]+", "-", model.stem.lower()).strip("-")[:63].rstrip("-")
    if not name:
        raise UsageError(f"no name can be made of {model.name}; give --name")
    return name


def make_package(
    model: Path, sample: Path, name: str, version: str, folder: Path, *, more: Sequence[str] = ()
) -> Manifest:
    """Runs R, which says on stderr what it does; the package is in `folder` afterwards.

    `more` are further arguments of the R package's scripts/package.R. Raises UsageError for arguments, RError with R's
    reason.
    """
    for path in (model, sample):
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    if model.suffix.lower() == ".r":
        raise UsageError(
            f"{model.name} is R code, and this takes a fitted model: package a function in R, by scoregate::package_function(), "
            "which asks for its inputs, its outputs and an example; then scoregate publish or scoregate try with its folder"
        )
    if not MODEL_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a model name: small letters, digits and dashes, at most 63")
    try:
        version_key(version)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder; give --out")
    required = {"--model": model.resolve(), "--sample": sample.resolve(), "--name": name, "--version": version}
    arguments = [str(part) for pair in (required | {"--out": folder.resolve()}).items() for part in pair]
    r.run(["--vanilla", r.script("package.R"), *arguments, *more], show=True)
    if not (folder / "manifest.json").exists():
        raise r.RError(
            "R ended, and with status 0, before the package was written: code that runs when the model is loaded or scores "
            "calls quit(); let it return its answer, or stop() with a message"
        )
    return read_package(folder)[0]
