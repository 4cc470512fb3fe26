"""`scoregate capacity` against a real stack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack.conftest import publish
from tests.stack.stack import ROOT, Stack
from tests.stack.test_client import scoregate


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose model takes 20 ms a request, on two workers: 100 requests a second are all it can do."""
    folder: Path = tmp_path_factory.mktemp("slow")
    publish(folder / "store", ROOT / "tests" / "models" / "slow" / "train.R")
    running = Stack.up("--store", (folder / "store").as_uri(), "--rate", "1000000/minute", "--scorer-workers", "2")
    yield running
    running.close()


def test_the_knee_of_a_slow_model_is_what_its_workers_can_do(slow: Stack) -> None:
    arguments = ("--model", "slow", "--stack", slow.name, "--seconds", "2", "--target-ms", "200", "--rate", "500")
    found = json.loads(scoregate("capacity", *arguments, "--json"))
    assert 20 <= found["knee_per_s"] <= 130
    assert not found["at_least"]
    assert found["stages_ms"]["predict"] >= 20
    assert found["workers"] == 2
    (wanted,) = found["needs"]
    assert wanted["workers"] >= 500 / 65 / 0.7


def test_another_machine_is_not_loaded_unless_told(slow: Stack) -> None:
    scoregate("capacity", "--model", "slow", "--url", "https://scoring.example.com", "--token", "t", code=2)


def test_a_limit_is_not_taken_for_the_capacity(new_stack: Callable[..., Stack], echo_store: str) -> None:
    limited = new_stack("--store", echo_store, "--rate", "30/minute")
    scoregate("capacity", "--model", "echo", "--stack", limited.name, "--seconds", "5", code=1)
