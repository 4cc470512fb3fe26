"""What model code, which runs as the scorer's own user, cannot read. Root can read everything, so none of this runs as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit import r
from shared.signature import Field, Type
from tests.service.scorer_models import DOUBLE
from tests.service.scorer_pod import ROOT, Model, scorer, vector
from tests.support import eventually

_SECRET = "not-for-model-code"
_NOBODY = 65534

#: Says which processes' environments have the text of a row, by searching all that it may read; and how many those are.
PEEKS = Model(
    name="peeks",
    signature=vector(Field(name="text", type=Type.STRING)),
    code="""
predict_model <- function(model, newdata) {
  holds <- function(path, text) {
    bytes <- tryCatch(readBin(path, "raw", 1e5), error = function(e) raw(), warning = function(w) raw())
    bytes[bytes == 0] <- as.raw(10)
    grepl(text, rawToChar(bytes), fixed = TRUE, useBytes = TRUE)
  }
  paths <- Filter(function(path) file.access(path, 4) == 0, Sys.glob("/proc/[0-9]*/environ"))
  vapply(newdata$text, function(text) as.double(sum(vapply(paths, holds, NA, text = text))), 0)
}
""",
    example={"text": ["no process has this: 6b1f"]},
    answers={"prediction": [0.0]},
    batchable=False,
)


@pytest.fixture
def user() -> int | None:
    """Somebody who is not root: ourselves, or nobody."""
    if os.getuid() != 0:
        return None
    done = subprocess.run(
        [sys.executable, "-c", "import scorer.app"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd="/",
        user=_NOBODY,
        group=_NOBODY,
        extra_groups=[],
        check=False,
        capture_output=True,
    )
    if done.returncode:
        pytest.skip(f"{ROOT} is for root alone")
    return _NOBODY


@pytest.fixture
def folder(user: int | None) -> Iterator[Path]:
    """A folder of that user's, with a short name for the sake of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="sgt-", dir="/tmp"))
    if user is not None:
        os.chown(folder, user, user)
    r.install_library()
    shutil.copytree(r.LIBRARY / "scoregate", folder / "r" / "scoregate")  # the library's own folder is private
    yield folder
    shutil.rmtree(folder)


def test_model_code_finds_the_scorers_environment_in_no_process(folder: Path, user: int | None) -> None:
    environment = {"AZURE_STORAGE_ACCOUNT_KEY": _SECRET}
    with scorer(folder, PEEKS, DOUBLE, environment=environment, user=user, r_libs=str(folder / "r")) as pod:
        pod.ready()
        eventually(lambda: {pod.version(m.name).get("state") for m in (PEEKS, DOUBLE)} == {"ready"}, what="both")
        readable, secret = (pod.predict(PEEKS, text=[text])[0] for text in ("OMP_THREAD_LIMIT=1", _SECRET))
        assert readable >= 3  # itself, and zygotes: it can search
        assert secret == 0
        # What the scorer reads of itself and of its children is still there.
        assert "supervisor 0" not in pod.log.read_text()
        assert pod.metric("scorer_process_pss_bytes", process="zygote") > 0
        [worker] = pod.workers("double")
        os.kill(worker["pid"], 9)
        eventually(lambda: pod.workers("double")[0]["pid"] not in {None, worker["pid"]}, what="its death was seen")
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]


_LOOKS_AT_ITSELF = """
import os, subprocess, sys
from scorer.shell import processes
from scorer.shell.memory import memory_of
processes.become_unreadable()
child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
assert processes.children() == {child}, processes.children()
assert memory_of(os.getpid()).pss_bytes > 0
assert memory_of(child) is not None
assert processes.resident_bytes(os.getpid()) > 0
processes.kill_children()
assert processes.children() == set()
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())], check=True)
"""
_LOOKS_AT_IT = """
import sys
from pathlib import Path
from load_tests.bench.processes import cpu_seconds, pss_mib
folder = Path("/proc", sys.argv[1])
for file in ("environ", "maps"):
    try:
        (folder / file).read_bytes()
    except PermissionError:
        pass
    else:
        sys.exit(f"{file} can be read")
assert cpu_seconds((folder / "stat").read_text()) > 0
assert pss_mib(int(sys.argv[1])) > 1
"""


def test_a_process_that_its_own_user_cannot_read_reads_itself_and_its_children_and_is_measured_from_outside(
    user: int | None,
) -> None:
    subprocess.run(
        [sys.executable, "-c", _LOOKS_AT_ITSELF, _LOOKS_AT_IT],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        check=True,
    )
