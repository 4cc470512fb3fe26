"""The client and the `scoregate` command on a whole stack: real tokens, real R, the pasted request pasted."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import (
    AsyncClient,
    Client,
    ClientSecret,
    ForbiddenError,
    InvalidDataError,
    NotFoundError,
    UnauthenticatedError,
)
from client.connection import Connection
from client.examples import example_rows
from devkit import r
from devkit.entra import state
from devkit.state import DEV
from shared.signature import Field, Signature, Type
from tests.stack.conftest import Stack
from tests.stack.stack import ROOT, rscript

MODELS = ("boston-housing", "cars-interval", "credit-default", "iris-species")


def credential(stack: Stack, app: str = "all") -> ClientSecret:
    """As an app would make it, with the stand-in's authority and CA."""
    known = state.read(DEV / stack.name / "entra")
    identity = known.apps[app]
    return ClientSecret(
        known.tenant,
        identity.client_id,
        identity.secret or "",
        "api://scoregate/.default",
        authority=known.authority,
        verify=known.ca_file,
    )


def scoregate(*arguments: str, code: int = 0, within_s: float = 120) -> str:
    """What the command prints; fails unless it exits with `code`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "client", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def varied(fields: tuple[Field, ...], example: dict[str, list[Any]], rows: int) -> list[dict[str, Any]]:
    """Rows around a model's example, doubles with all their bits, missing values wherever they may be."""
    chance = random.Random(7)
    known = example_rows(fields, example)
    found = []
    for _ in range(rows):
        row = {}
        for field in fields:
            value = chance.choice(known)[field.name]
            if field.type is Type.DOUBLE and value is not None:
                value *= chance.uniform(0.5, 1.5)
            if field.type is Type.FACTOR:
                value = chance.choice(field.levels)
            row[field.name] = None if field.nullable and chance.random() < 0.1 else value
        found.append(row)
    return found


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows(
            [["NA" if v is None else repr(v) if isinstance(v, float) else v for v in r.values()] for r in rows]
        )


@pytest.mark.parametrize("model", MODELS)
def test_ten_thousand_rows_have_rs_very_bits(stack: Stack, tmp_path: Path, model: str) -> None:
    manifest, _ = stack.published(model)
    fields = tuple(Field(**{**f, "type": Type(f["type"])}) for f in manifest["signature"]["inputs"])
    write_csv(tmp_path / "rows.csv", varied(fields, manifest["example"]["inputs"], 10_000))
    for form in ((), ("--json",)):
        said = scoregate("verify", model, str(tmp_path / "rows.csv"), "--stack", stack.name, *form)
        assert said == f"{model} 1: 10,000 rows, 0 bits differ\n"


def test_the_examples_of_the_catalogue_can_be_sent_and_are_answered_as_promised(stack: Stack) -> None:
    with Client(stack.gateway_url, credential=credential(stack)) as client:
        models = client.models()
        assert [model.model for model in models] == sorted([*MODELS, "loan-schedule"])
        for model in models:
            assert isinstance(model.signature, Signature)
            assert model.default
            assert model.example is not None
            assert model.example_answer is not None
            if model.signature.is_function:
                assert client.call(model.model, model.example["inputs"]).outputs == model.example_answer["outputs"]
                continue
            scored = client.score(model.model, model.example["rows"])
            assert scored.predictions == model.example_answer["predictions"]
            columns = client.score_binary(model.model, model.example["rows"]).columns
            first = scored.predictions[0]
            for name, values in columns.items():
                assert values[0] == (first[name] if isinstance(first, dict) else first)


async def test_the_async_client_puts_many_parts_together_in_order(stack: Stack) -> None:
    speeds = [float(i) for i in range(2_000)]
    async with AsyncClient(stack.gateway_url, credential=credential(stack), rows_per_request=37) as client:
        scored = await client.score("cars-interval", {"speed": speeds})
    fits: list[Any] = [p["fit"] for p in scored.predictions if isinstance(p, dict)]
    assert len(fits) == 2_000
    assert all(a < b for a, b in itertools.pairwise(fits))


def test_refusals_come_as_their_own_exceptions(stack: Stack) -> None:
    row = {"speed": 10}
    with Client(stack.gateway_url, credential=credential(stack)) as client:
        with pytest.raises(InvalidDataError) as caught:
            client.score("cars-interval", [{"speed": "fast"}])
        assert caught.value.problems[0]["pointer"] == "/rows/0/speed"
        with pytest.raises(NotFoundError):
            client.score("no-such-model", [row])
        with pytest.raises(NotFoundError):
            client.score("cars-interval", [row], version="99")
    with Client(stack.gateway_url, credential=credential(stack, "one-model")) as client:
        assert [model.model for model in client.models()] == ["boston-housing"]
        with pytest.raises((ForbiddenError, NotFoundError)):
            client.score("cars-interval", [row])
    with (
        Client(stack.gateway_url, credential=credential(stack, "disallowed")) as client,
        pytest.raises(UnauthenticatedError),
    ):
        client.models()


def test_a_caller_over_its_limit_waits_as_told_and_is_served(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack("--rate", "10/second")
    with Client(stack.gateway_url, credential=credential(stack)) as client:
        answers = [client.score("cars-interval", [{"speed": 10}]).predictions for _ in range(25)]
    assert len(answers) == 25
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_try_serves_a_model_and_leaves_nothing_behind(tmp_path: Path, end: signal.Signals) -> None:
    fit = f'saveRDS(lm(dist ~ speed, cars), "{tmp_path}/My fit.rds"); write.csv(cars, "{tmp_path}/cars.csv")'
    rscript("-e", fit, env=os.environ | r.environment())
    body = tried(tmp_path, end, str(tmp_path / "My fit.rds"), "--sample", str(tmp_path / "cars.csv"))
    assert (body["model"], body["version"], len(body["predictions"])) == ("my-fit", "1", 2)


def test_try_serves_a_function_from_its_package(tmp_path: Path) -> None:
    make = f"""
    scoregate::package_function(
      function(day, parts) list(first = day, total = sum(parts)), "add-up", "1-rc1", dir = "{tmp_path}/packaged",
      inputs = list(day = "date", parts = "double[]"), outputs = list(first = "date", total = "double"),
      example = list(day = as.Date("2024-02-29"), parts = c(0.5, 2))
    )
    """
    rscript("-e", make, env=os.environ | r.environment())
    body = tried(tmp_path, signal.SIGINT, str(tmp_path / "packaged"))
    assert (body["model"], body["version"]) == ("add-up", "1-rc1")
    assert body["outputs"] == {"first": "2024-02-29", "total": 2.5}


def tried(folder: Path, end: signal.Signals, *arguments: str) -> dict[str, Any]:
    """What the request that `scoregate try` prints is answered; it has left nothing behind."""
    command = [sys.executable, "-m", "client", "try", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            printed = ""
            for line in process.stdout:
                printed += line
                if line.startswith("  -d "):
                    break
            answer = subprocess.run(
                ["sh", "-c", printed[printed.index("curl ") :]],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            process.send_signal(end)
            said = process.stderr.read()
    assert process.returncode == 0, said
    (name,) = {word for word in said.split() if word.startswith("try-")}
    assert not (DEV / name).exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{printed.split()[0]}/v1/models", trust_env=False)
    body: dict[str, Any] = json.loads(answer.stdout)
    return body


def test_top_shows_what_went_on_between_two_looks(stack: Stack) -> None:
    with ThreadPoolExecutor(1) as beside, Connection(stack=stack.name).client() as client:
        seen = beside.submit(scoregate, "top", "--stack", stack.name, "--json", "--every", "5")
        rows = (client.model("boston-housing").example or {})["rows"]
        scored = 0
        while not seen.done():
            client.score("boston-housing", rows)
            scored += 1
    said = json.loads(seen.result())
    (flow,) = [flow for flow in said["models"] if flow["model"] == "boston-housing"]
    assert 0 < flow["requests_per_s"] * said["seconds"] <= scored
    assert flow["rows_per_call"] == len(rows)
    assert 0 < flow["predict_ms"] < flow["latency_ms"]
    assert said["pods"][0]["slots"] >= 1
    assert "R calls saved" in scoregate("top", "--stack", stack.name, "--once", "--every", "0.2")
