"""What is in the images, and what is not; a model baked in; process 1."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from pathlib import Path

import pytest

from devkit.internal_key import ensure
from devkit.state import ROOT
from tests.compose.containers import READY_WITHIN_S, Containers
from tests.support import eventually

#: Each image, and the service that runs it.
SERVICES = {"scoregate-gateway": "gateway", "scoregate-scorer": "scorer", "scoregate-devkit": "entra"}
IMAGES = tuple(SERVICES)
HOW_TO = ROOT / "docs" / "how-to" / "run-in-containers.md"


def health_check(image: str) -> list[str]:
    """The command of its Dockerfile's HEALTHCHECK."""
    dockerfile = (ROOT / image.removeprefix("scoregate-") / "Dockerfile").read_text()
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", dockerfile, re.MULTILINE)
    return [str(word) for word in json.loads(command)]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_a_numeric_user_a_health_check_and_labels(containers: Containers, image: str) -> None:
    (found,) = json.loads(containers.engine("image", "inspect", image))
    config = found["Config"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    # podman leaves a HEALTHCHECK out of an image in OCI's format, so it is the Dockerfile's that is asked for and run.
    containers.execute(containers.name(SERVICES[image]), *health_check(image))
    labels = {name.removeprefix("org.opencontainers.image.") for name in config["Labels"]}
    assert labels >= {"title", "description", "licenses", "version", "revision"}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_no_compiler_no_pip_and_no_cache(containers: Containers, image: str) -> None:
    look = (
        "for p in gcc cc g++ c++ gfortran make pip pip3; do command -v $p; done;"
        "ls /var/lib/apt/lists /var/cache/apt /root/.cache 2>/dev/null | grep -v :; find /var /tmp /opt -name '*.deb' 2>/dev/null"
    )
    assert containers.once(image, "sh", "-c", f"{look}; echo looked") == "looked\n"


def test_r_uses_the_reference_blas_and_one_thread(containers: Containers) -> None:
    code = 'cat(extSoftVersion()[["BLAS"]], Sys.getenv("OMP_THREAD_LIMIT"))'
    blas, threads = containers.once("scoregate-scorer", "Rscript", "-e", code).split()
    assert re.fullmatch(r"/usr/lib/[\w-]+/blas/libblas\.so\.[\d.]+", blas)
    assert threads == "1"


def _zombies(containers: Containers, name: str) -> list[str]:
    states = containers.execute(name, "sh", "-c", "cat /proc/[0-9]*/stat")
    return [line for line in states.splitlines() if line.rpartition(")")[2].split()[0] == "Z"]


def test_process_1_of_a_scorer_reaps_what_was_left_to_it(containers: Containers) -> None:
    name = containers.name("scorer")
    assert "python3" in containers.execute(name, "cat", "/proc/1/cmdline")
    # Orphans that live on, and then end as children of process 1.
    containers.execute(name, "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.2 &) ; done; kill -9 $$ & exit")
    eventually(lambda: _zombies(containers, name) == [], what="no zombie")


def test_models_baked_into_an_image_are_served_without_a_store(containers: Containers, tmp_path: Path) -> None:
    """By the Dockerfile of the how-to, with the store of the examples as the folder beside it."""
    (dockerfile,) = re.findall(
        r"^```dockerfile\n(FROM scoregate-scorer\n.*?)```", HOW_TO.read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "Dockerfile").write_text(dockerfile)
    archive = tmp_path / "store.tar"
    with archive.open("wb") as file:
        command = (
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "tar",
            "scoregate-examples",
            "-C",
            "/",
            "-c",
            "store",
        )
        subprocess.run([containers.engine_name, *command], stdout=file, check=True, timeout=60)
    subprocess.run(["tar", "-C", tmp_path, "-xf", archive], check=True)
    tag = f"scoregate-baked-{uuid.uuid4().hex[:8]}"
    keys = tmp_path / "keys"
    keys.mkdir()
    ensure(keys / "private.pem", keys / "public.pem")
    (keys / "public.pem").chmod(0o644)
    containers.engine("build", "--tag", tag, str(tmp_path))
    try:
        hardened = ("--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
        key = ("--volume", f"{keys / 'public.pem'}:/public.pem:ro", "--env", "SCORER_GATEWAY_KEYS_FILE=/public.pem")
        cache = ("--env", "SCORER_CACHE_DIR=/tmp/cache")
        containers.engine("run", "--detach", "--rm", "--name", tag, *hardened, *key, *cache, tag)
        ready = "http://127.0.0.1:9091/readyz"
        eventually(lambda: containers.fetch(tag, ready), within_s=READY_WITHIN_S, every_s=0.5, what="ready")
        versions = json.loads(containers.fetch(tag, "http://127.0.0.1:9091/status"))["versions"]
        assert {v["model"]: v["state"] for v in versions}["boston-housing"] == "ready"
        containers.execute(tag, *health_check("scoregate-scorer"))
    finally:
        containers.engine("rm", "--force", tag, check=False)
        containers.engine("rmi", "--force", tag, check=False)
