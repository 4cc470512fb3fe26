"""Stacks for these tests: one for the session with the examples, and others that a test starts for itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devkit import r
from tests.stack.stack import ROOT, Stack, rscript

__all__ = ["Stack"]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One stack with the examples, for tests that leave it as it was."""
    running = Stack.up()
    yield running
    running.close()


@pytest.fixture(scope="session")
def echo_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that has the echo model only: it answers the marker of each row."""
    folder = tmp_path_factory.mktemp("echo")
    publish(folder / "store", ROOT / "tests" / "models" / "echo" / "train.R")
    return (folder / "store").as_uri()


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the reference model and, beside it, models that misbehave when a row says so."""
    folder = tmp_path_factory.mktemp("hostile")
    publish(folder / "store", ROOT / "examples" / "models" / "boston-housing" / "train.R")
    for name in ("misbehaves", "drops-missing"):
        publish(folder / "store", ROOT / "tests" / "models" / "hostile" / name / "train.R")
    return (folder / "store").as_uri()


def publish(store: Path, train: Path, *arguments: str) -> None:
    """Train a model and publish it, in R."""
    r.install_library()
    library = r.environment()
    package = store.parent / f"package-{train.parent.name}-{'-'.join(arguments)}"
    env = os.environ | library
    rscript(train, package, *arguments, env=env)
    code = f'invisible(scoregate::publish_model("{package}", "{store.as_uri()}"))'
    rscript("-e", code, env=env)


@pytest.fixture
def new_stack() -> Iterator[Callable[..., Stack]]:
    """Starts a stack of the test's own; stopped when the test ends."""
    running: list[Stack] = []

    def up(*options: str, **environment: str) -> Stack:
        running.append(Stack.up(*options, **environment))
        return running[-1]

    yield up
    for one in running:
        one.close()
