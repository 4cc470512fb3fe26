"""What four workers hold of a large model after many calls, with workers forked anew as they grow.

    python -m load_tests.bench.memory --class lm --class ranger [--requests 20000] [--workers 4] [--refork-share 1000]

For each class a model of about 200 MB and a toy of it are trained, packaged and served by a scorer of its own. One-row requests
go to all workers at once, `--requests` per worker. Printed: (PSS of the whole pod) - (the same with the toy), as a multiple of the
model's bytes, at most and at the end; workers forked anew; the median and 99th percentile of the requests.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devkit import r
from shared import internal_token
from shared.signature import Signature
from shared.wire import HEADER_LENGTH, encode_request, pack_frame, tensor_specs

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
CLASSES = ("ranger", "lm", "glm", "rpart", "gbm", "gam", "randomForest")


@dataclass
class Figures:
    """Of one pod under load; bytes and milliseconds."""

    start: float
    most: float
    end: float
    p50_ms: float
    p99_ms: float
    renewed: int
    per_s: float
    held: list[float]


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def pss_bytes(root: int) -> float:
    """PSS of a process and all that descend from it."""
    total = 0
    for pid in family(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def package(kind: str, size: str, store: Path) -> int:
    """Train, package and publish a model; its bytes."""
    folder = store.with_suffix(".package")
    env = os.environ | r.environment()
    script = str(Path(__file__).with_suffix(".R"))
    out = subprocess.run(  # noqa: S603
        ["/usr/bin/env", "Rscript", script, kind, size, str(folder)],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    store.mkdir(parents=True)
    publish = "a <- commandArgs(TRUE); invisible(scoregate::publish_model(a[1], a[2]))"
    argv = ["/usr/bin/env", "Rscript", "-e", publish, str(folder), store.as_uri()]
    subprocess.run(argv, env=env, check=True, capture_output=True)  # noqa: S603
    return int(out.stdout.split()[-1])


@contextmanager
def pod(store: Path, folder: Path, settings: dict[str, str]) -> Iterator[tuple[int, str, str, Ed25519PrivateKey]]:
    """A scorer that is ready: its process, its two addresses, its gateways' key."""
    key = Ed25519PrivateKey.generate()
    keys = folder / "keys.pem"
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    keys.write_bytes(key.public_key().public_bytes(*form))
    env = os.environ | {
        "SCORER_STORE_URL": store.as_uri(), "SCORER_GATEWAY_KEYS_FILE": str(keys), "SCORER_PORT": "0",
        "SCORER_INTERNAL_PORT": "0", "SCORER_R_LIBS": str(r.LIBRARY.resolve()), "SCORER_LOG_LEVEL": "error",
    }  # fmt: skip
    argv = [sys.executable, "-m", "scorer"]
    with subprocess.Popen(argv, cwd=ROOT, env=env | settings, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - PIPE
            listening = json.loads(process.stdout.readline())
            until = time.monotonic() + 180
            while not ready(listening["internal_url"]):
                if time.monotonic() > until:
                    raise RuntimeError("the scorer does not become ready")
                time.sleep(0.1)
            yield process.pid, listening["url"], listening["internal_url"], key
        finally:
            process.terminate()


def ready(internal: str) -> bool:
    """Whether it serves."""
    try:
        with urllib.request.urlopen(f"{internal}/readyz", timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def renewed(internal: str) -> int:
    """Workers forked anew so far."""
    with urllib.request.urlopen(f"{internal}/metrics", timeout=10) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    ended = [line for line in lines if line.startswith("scorer_workers_ended_total{")]
    return round(sum(float(n.rpartition(" ")[2]) for n in ended if 'cause="grown"' in n or 'cause="worn"' in n))


def load(store: Path, requests: int, settings: dict[str, str]) -> Figures:
    """Serve what is in the store and fire."""
    manifest = json.loads((store / "models/bench/1/manifest.json").read_text())
    signature = msgspec.convert(manifest["signature"], Signature)
    columns = [[manifest["example"]["inputs"][field.name][0]] for field in signature.inputs]
    frame = pack_frame(signature.inputs, columns)
    head, body = encode_request(tensor_specs(signature.inputs), frame, [1])
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    workers = int(settings["SCORER_WORKERS"])
    took: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as name,
        pod(store, Path(name), settings) as (pid, url, internal, key),
    ):
        start = pss_bytes(pid)
        private = internal_token.load_private_key(key.private_bytes(*form))

        def fire() -> None:
            parts = urlsplit(url)
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
            headers = {HEADER_LENGTH: str(head)}
            for count in range(requests):
                if count % 500 == 0:
                    token = internal_token.issue(private, issuer="bench", now=time.time())
                    headers["Authorization"] = f"Bearer {token}"
                began = time.perf_counter()
                connection.request("POST", "/v2/models/bench/versions/1/infer", body, headers)
                answer = connection.getresponse()
                said = answer.read()
                took.append((time.perf_counter() - began) * 1000)
                if answer.status != 200 or b'"errors"' in said:
                    raise RuntimeError(f"{answer.status} {said[:300]!r}")

        threads = [threading.Thread(target=fire) for _ in range(workers)]
        began, held = time.monotonic(), [start]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(0.5)
            held.append(pss_bytes(pid))
        elapsed = time.monotonic() - began
        until = time.monotonic() + 5  # the last look at each worker
        while time.monotonic() < until:
            time.sleep(0.5)
        end, count = pss_bytes(pid), renewed(internal)
    if len(took) < workers * requests:
        raise RuntimeError("some requests failed")
    took.sort()
    return Figures(
        start, max(held), end, statistics.median(took), took[int(len(took) * 0.99)], count, len(took) / elapsed, held
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--class", dest="classes", action="append", choices=CLASSES)
    parser.add_argument("--requests", type=int, default=20_000, help="per worker")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--refork-share", default="", help="1000: workers are never forked anew for their memory")
    parser.add_argument("--refork-runs", default="0")
    parser.add_argument("--raw", action="store_true", help="print the whole pods' PSS as it went")
    options = parser.parse_args()
    settings = {"SCORER_WORKERS": str(options.workers), "SCORER_REFORK_RUNS": options.refork_runs}
    if options.refork_share:
        settings["SCORER_REFORK_SHARE"] = options.refork_share
    r.install_library()
    print(f"{options.workers} workers, {options.requests} requests each")
    print(
        f"{'class':14}{'model MB':>9}{'start':>7}{'most':>7}{'end':>7}{'renewed':>9}{'p50 ms':>8}{'p99 ms':>8}{'per s':>7}"
    )
    for kind in options.classes or CLASSES:
        with tempfile.TemporaryDirectory(prefix="sg-") as name:
            folder = Path(name)
            size = package(kind, "large", folder / "large")
            package(kind, "toy", folder / "toy")
            toy = load(folder / "toy", options.requests, settings)
            large = load(folder / "large", options.requests, settings)
        start, most, end = (large.start - toy.start, large.most - toy.most, large.end - toy.end)
        print(
            f"{kind:14}{size / 1e6:9.0f}{start / size:7.2f}{most / size:7.2f}{end / size:7.2f}{large.renewed:9}"
            f"{large.p50_ms:8.1f}{large.p99_ms:8.1f}{large.per_s:7.0f}",
            flush=True,
        )
        if options.raw:
            for label, figures in (("toy", toy), ("large", large)):
                held = " ".join(f"{count / 1e6:.0f}" for count in figures.held)
                print(f"  {label}: MB in each half second, then at the end: {held} {figures.end / 1e6:.0f}", flush=True)


if __name__ == "__main__":
    main()
