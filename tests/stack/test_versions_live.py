"""New versions under load, through the whole stack: published, refused, promoted, retracted; compared by `scoregate diff`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from client.store import Store as Publisher
from scorer.core.manifest import digest_of
from shared import signing
from shared.signature import Field, Type
from tests.service.scorer_pod import Model, vector
from tests.stack.conftest import Stack
from tests.stack.stack import ROOT
from tests.stack.test_load import client
from tests.support import eventually

NewStack = Callable[..., Stack]
TENTH = Field(name="x", type=Type.DOUBLE)


def version(number: int, **changes: Any) -> Model:
    """Answers x / (number + 0.1): no two versions agree in their bits."""
    model = Model(
        name="live",
        version=str(number),
        signature=vector(TENTH),
        code=f"predict_model <- function(model, newdata) newdata$x / {number}.1",
        example={"x": [1.0, 3.0]},
        answers={"prediction": [1.0 / (number + 0.1), 3.0 / (number + 0.1)]},
    )
    return replace(model, **changes)


def right(number: str, x: float) -> float:
    return x / float(f"{number}.1")


def described(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(
        f"{stack.gateway_url}/v1/models/live", headers={"Authorization": f"Bearer {stack.token()}"}, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def scoregate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "client", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Load:
    """Eight callers who name no version, one after the other; each answer is checked against the version it names."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._stop = asyncio.Event()

    async def run(self, stack: Stack) -> None:
        async with client(stack, 8) as http, asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(self._caller(http, number))

    async def _caller(self, http: httpx.AsyncClient, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            rows = [number + turn / 7, 1e300 / (turn + number), -turn / 3]
            answer = await http.post("/v1/models/live/score", json={"columns": {"x": rows}})
            if answer.status_code != 200:
                self.wrong.append(answer.text)
                continue
            said = answer.json()
            if said["predictions"] != [right(said["version"], x) for x in rows]:
                self.wrong.append(answer.text)
            self.answered[said["version"]] += 1

    async def until(self, number: str, *, more: int = 1) -> None:
        """Until so many more answers have come of this version."""
        wanted = self.answered[number] + more
        await asyncio.to_thread(
            lambda: eventually(
                lambda: self.answered[number] >= wanted or self.wrong, within_s=40, what=f"{number} answers"
            )
        )

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A store with version 1."""
    version(1).publish(tmp_path / "store")
    return tmp_path / "store"


async def test_five_versions_published_under_load_lose_no_request_and_each_answer_is_its_versions(
    new_stack: NewStack, first: Path
) -> None:
    stack = new_stack("--store", first.as_uri(), "--gateway-workers", "2", "--rate", "1000000/minute")
    load = Load()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(stack))
        await load.until("1", more=100)
        for number in range(2, 7):
            await asyncio.to_thread(version(number).publish, first)
            await load.until(str(number), more=100)
        publisher = Publisher(first.as_uri())
        publisher.promote("live", "2")  # back, while 6 is there
        await load.until("2", more=100)
        publisher.promote("live", None)
        await load.until("6", more=100)
        publisher.retract("live", "6", "", "")
        await load.until("5", more=100)
        load.stop()
    assert load.wrong == []
    assert sorted(load.answered) == list("123456")
    assert stack.errors_logged("gateway") == []
    assert stack.errors_logged("scorer") == []


def corrupt(store: Path) -> None:
    """Version 2's file has other content of the same length."""
    model = version(2)
    model.publish(store / "aside")
    for blob in (store / "aside" / "blobs" / "sha256").iterdir():
        data = blob.read_bytes()
        (store / "blobs" / "sha256" / blob.name).write_bytes(data if len(data) < 20 else data[::-1])
    (store / "models" / "live").mkdir(exist_ok=True, parents=True)
    (store / "aside" / "models" / "live" / "2").rename(store / "models" / "live" / "2")


async def test_what_cannot_be_served_is_refused_by_name_and_the_old_version_stays(
    new_stack: NewStack, first: Path, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "trusted").write_bytes(public)

    def sign(number: str) -> None:
        """Signs what is in the store, as its publisher would have."""
        manifest = (first / "models" / "live" / number / "manifest.json").read_bytes()
        signed = signing.sign((tmp_path / "key").read_bytes(), manifest)
        path = first / signing.place(digest_of(manifest), signed.key_id)
        path.parent.mkdir(parents=True)
        path.write_text(str(signed))

    sign("1")
    stack = new_stack("--store", first.as_uri(), SCORER_TRUSTED_KEYS=str(tmp_path / "trusted"))
    load = Load()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(stack))
        await load.until("1", more=50)
        corrupt(first)
        version(3, packages={"notInstalled": "1.0"}).publish(first)
        version(4, answers={"prediction": [1.0, 2.0]}).publish(first)
        gone = version(5, code="predict_model <- function(model, newdata) newdata$x / 5.1 # gone")
        gone.publish(first)
        for blob in (first / "blobs" / "sha256").iterdir():
            if b"# gone" in blob.read_bytes():
                blob.unlink()
        version(6).publish(first)
        for number in "2345":
            sign(number)
        reasons = await asyncio.to_thread(
            lambda: eventually(
                lambda: (found := described(stack).get("unavailable", {})) and _all_refused(found) and found,
                within_s=60,
                what="all five are refused",
            )
        )
        await load.until("1", more=50)
        load.stop()
    assert "score.R is not the file that was published" in reasons["2"]
    assert "notInstalled" in reasons["3"]
    assert "self-test" in reasons["4"]
    assert "score.R is not in the store" in reasons["5"]
    assert "not signed" in reasons["6"]
    assert load.wrong == []
    assert set(load.answered) == {"1"}


def _all_refused(reasons: dict[str, str]) -> bool:
    return set(reasons) == set("23456") and not {"loading"} & set(reasons.values())


def test_promote_retract_and_diff_as_an_operator_uses_them(new_stack: NewStack, first: Path, tmp_path: Path) -> None:
    wider = vector(TENTH, Field(name="y", type=Type.DOUBLE, nullable=True))
    version(2, signature=wider, example={"x": [1.0], "y": [2.0]}, answers={"prediction": [1.0 / 2.1]}).publish(first)
    version(3, signature=vector(TENTH), code="predict_model <- function(model, newdata) newdata$x / 1.1",
            answers={"prediction": [1.0 / 1.1, 3.0 / 1.1]}).publish(first)  # fmt: skip
    stack = new_stack("--store", first.as_uri())
    eventually(lambda: set(described(stack)["versions"]) == set("123"), what="all are ready")
    assert described(stack)["version"] == "3"  # 2 takes another input and waits
    rows = tmp_path / "rows.csv"
    rows.write_text("x,y\n1,NA\n-2.5,1\n0,0\n")

    same = scoregate("diff", "live", "1", "3", "--data", rows, "--stack", stack.name)
    assert same.returncode == 0, same.stderr
    assert same.stdout.splitlines() == ["inputs and outputs are the same", "prediction: 0 of 3 rows differ"]
    other = scoregate("diff", "live", "1", "2", "--data", rows, "--stack", stack.name, "--examples", "1")
    assert other.returncode == 0, other.stderr
    lines = other.stdout.splitlines()
    assert lines[0] == "input y: new, double, may be missing"
    assert "serves by default only after scoregate promote live 2" in lines[1]
    assert lines[2] == "prediction: 2 of 3 rows differ, by at most 0.476 of the older answer"
    assert lines[3] == f"    row 1: {1 / 1.1:.17g} in 1, {1 / 2.1:.17g} in 2"
    assert len(lines) == 4

    where = ("--store", first.as_uri())
    assert scoregate("promote", "live", "2", *where).returncode == 0
    eventually(lambda: described(stack)["version"] == "2", what="the promoted one serves")
    assert scoregate("retract", "live", "2", "--reason", "a mistake", *where).returncode == 0
    eventually(lambda: described(stack)["version"] == "3", what="the rule decides again")
    assert set(described(stack)["versions"]) == {"1", "3"}
    refused = scoregate("promote", "live", "2", *where)
    assert (refused.returncode, "is retracted" in refused.stderr) == (1, True)
