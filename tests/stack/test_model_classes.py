"""One model of every class on one stack, on every type of column and missing values: `scoregate verify` finds no bit different,
in whole tables and cut into requests of 1 and 7 rows that are sent at once and share predictions.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from client.compare import compare
from client.connection import Connection
from client.csvdata import read_csv
from client.rows import table_of
from devkit import r
from tests.stack.stack import ROOT, Stack, rscript
from tests.stack.test_client import scoregate

# The fixture fits, packages and loads them all.
pytestmark = pytest.mark.timeout(900)

HERE = ROOT / "tests" / "models" / "classes"
CLASSES = re.findall(r"^  `?([a-z-]+)`? = function\(rows\)", (HERE / "fits.R").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages by class, the rows of each as CLASS.csv, and `store`, where all of them are published."""
    folder = tmp_path_factory.mktemp("classes")
    r.install_library()
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        for done in [pool.submit(_publish, folder, CLASSES[core::cores]) for core in range(cores)]:
            done.result()
    return folder


def _publish(folder: Path, classes: list[str]) -> None:
    env = os.environ | r.environment()
    rscript(HERE / "publish.R", (folder / "store").as_uri(), folder, *classes, within_s=600, env=env)


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Stack]:
    """A stack that serves them."""
    running = Stack.up("--store", (folder / "store").as_uri(), "--rate", "1000000/minute")
    yield running
    running.close()


def manifest(folder: Path, model: str) -> dict[str, Any]:
    """What was published."""
    found: dict[str, Any] = json.loads((folder / model / "manifest.json").read_text())
    return found


@pytest.mark.parametrize(
    ("model", "options"), [*((model, []) for model in CLASSES), *((model, ["--json"]) for model in ("glm", "svm"))]
)
def test_verify_finds_no_bit_that_differs(serving: Stack, folder: Path, model: str, options: list[str]) -> None:
    said = scoregate("verify", model, str(folder / f"{model}.csv"), "--stack", serving.name, *options)
    assert said.splitlines()[-1] == f"{model} 1: 150 rows, 0 bits differ"


@pytest.mark.parametrize("model", CLASSES)
def test_requests_that_share_predictions_get_the_same_bits(serving: Stack, folder: Path, model: str) -> None:
    connection = Connection(stack=serving.name)
    with connection.client() as client, (folder / f"{model}.csv").open(newline="", encoding="utf-8") as lines:
        signature = client.model(model).signature
        columns = table_of(read_csv(lines, signature.inputs).columns).as_columns(f.name for f in signature.inputs)
    with (
        connection.client() as whole,
        connection.client(rows_per_request=1, concurrency=8) as alone,
        connection.client(rows_per_request=7) as few,
    ):
        # The whole table's answer is R's to the bit: the test above.
        here = {name: values[:60] for name, values in whole.score_binary(model, columns).columns.items()}
        first = {name: values[:60] for name, values in columns.items()}
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda one: one.score_binary(model, first).columns, (alone, few)))
    for answer in answers:
        found = compare(here, answer)
        assert (found.rows, found.bits) == (60, 0), "\n".join(map(str, found.first))


@pytest.mark.parametrize("model", CLASSES)
def test_every_class_is_batchable_and_its_rows_hold_what_it_takes(folder: Path, model: str) -> None:
    published = manifest(folder, model)
    assert published["batchable"], published["batchable_reason"]
    rows = (folder / f"{model}.csv").read_text().splitlines()
    nullable = [field["name"] for field in published["signature"]["inputs"] if field["nullable"]]
    header = rows[0].split(",")
    for name in nullable:
        place = header.index(name)
        assert any(_cells(row)[place] == "NA" for row in rows[1:]), name


def _cells(row: str) -> list[str]:
    return re.findall(r'"(?:[^"]|"")*"|NA', row)


def test_every_method_of_the_r_package_has_a_class_here(folder: Path) -> None:
    used = {manifest(folder, model)["predict"]["method"] for model in CLASSES}
    sources = "\n".join(path.read_text() for path in (ROOT / "scorer/r/R").glob("method_*.R"))
    assert used == set(re.findall(r"^model_predict\.(\S+) <-", sources, re.MULTILINE)) - {"default"}


def test_a_missing_package_of_a_class_is_named(folder: Path, tmp_path: Path) -> None:
    """As on a pod whose image lacks it: the model is refused by the package's name before anything is read."""
    package = tmp_path / "gbm"
    package.mkdir()
    published = manifest(folder, "gbm") | {"packages": {"gbm": "1", "notHere": "2.0"}}
    (package / "manifest.json").write_text(json.dumps(published))
    code = f'scoregate::load_model_package("{package}", verify = FALSE)'
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", code],
        env=os.environ | r.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "notHere 2.0" in done.stderr
