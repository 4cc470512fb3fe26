"""One request of 100,000 rows: on two workers against one, against plain Plumber with JSON, and what small requests notice.

    python -m load_tests.bench.large [--rows 100000] [--rounds 5]

Starts stacks of its own (`./dev up`) with one and with two workers. Prints the time in the scorer (reading, cutting, R, putting
together), the time end to end by binary Open Inference Protocol, the same rows as JSON to one Plumber process with the same
model, and the median of a one-row request with nothing else to do and beside large ones. Everything shares one machine: the
sender, the gateway and R.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
MODEL = "boston-housing"
LENGTH = "Inference-Header-Content-Length"
Columns = dict[str, list[float]]


def devkit(*arguments: str, **environment: str) -> str:
    """What `./dev ARGUMENTS` prints."""
    argv = [sys.executable, "-m", "devkit", *arguments]
    env = os.environ | environment
    return subprocess.run(argv, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout  # noqa: S603


@dataclass
class Stack:
    """Where a running stack is."""

    name: str
    gateway: str
    scorer_internal: str
    token: str

    def in_scorer_s(self) -> float:
        """Seconds the scorer has spent on requests for the model since its start."""
        with urllib.request.urlopen(f"{self.scorer_internal}/metrics", timeout=10) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("scorer_request_seconds_sum{") and MODEL in line
        )


def manifest_of(target: Stack) -> dict[str, Any]:
    """The model's manifest, from the stack's store."""
    path = ROOT / ".dev" / target.name / "store/models" / MODEL / "1/manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


@contextmanager
def stack(workers: int, **settings: str) -> Iterator[Stack]:
    """A stack with so many workers."""
    name = f"bench-large-{os.getpid()}"
    devkit("up", "--detach", "--name", name, "--port", "0", "--scorer-workers", str(workers), **settings)
    try:
        status = json.loads(devkit("status", "--json", "--name", name))
        token = devkit("token", "--name", name).strip()
        yield Stack(name, status["gateway_url"], status["scorer_internal_url"], token)
    finally:
        devkit("down", "--name", name, "--remove")


def sample(inputs: list[dict[str, Any]], rows: int) -> Columns:
    """So many rows within the ranges of the training data, the same ones every time."""
    rng = random.Random(1)
    columns: Columns = {}
    for column in inputs:
        low, high = column["range"]
        whole = column["type"] == "integer"
        columns[column["name"]] = [
            rng.randint(int(low), int(high)) if whole else rng.uniform(low, high) for _ in range(rows)
        ]
    return columns


def binary(inputs: list[dict[str, Any]], columns: Columns) -> tuple[bytes, int]:
    """An OIP request with binary tensors in and out, and the length of its JSON."""
    rows = len(next(iter(columns.values())))
    tensors, buffers = [], []
    for column in inputs:
        whole = column["type"] == "integer"
        data = array("i" if whole else "d", columns[column["name"]]).tobytes()
        tensors.append({
            "name": column["name"], "shape": [rows], "datatype": "INT32" if whole else "FP64",
            "parameters": {"binary_data_size": len(data)},
        })  # fmt: skip
        buffers.append(data)
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return b"".join([head, *buffers]), len(head)


def curl(url: str, body: Path, *headers: str) -> subprocess.Popen[bytes]:
    """Send a file by a process of its own."""
    argv = ["curl", "-sS", "-f", "-o", "/dev/null", "-w", "%{time_total}", url, "-H", "Expect:"]
    for header in headers:
        argv += ["-H", header]
    return subprocess.Popen([*argv, "--data-binary", f"@{body}"], stdout=subprocess.PIPE)  # noqa: S603


def seconds(sent: subprocess.Popen[bytes]) -> float:
    """How long it took. Raises RuntimeError if it was refused."""
    out, _ = sent.communicate()
    if sent.returncode:
        raise RuntimeError(f"curl: {sent.returncode}")
    return float(out)


def large(target: Stack, body: Path, head: int) -> subprocess.Popen[bytes]:
    """Send the large request."""
    return curl(
        f"{target.gateway}/v2/models/{MODEL}/infer", body, f"Authorization: Bearer {target.token}", f"{LENGTH}: {head}",
        "Content-Type: application/octet-stream", "X-Request-Timeout-Ms: 60000",
    )  # fmt: skip


class Small:
    """One-row requests on one kept connection."""

    def __init__(self, target: Stack, inputs: list[dict[str, Any]]) -> None:
        parts = urlsplit(target.gateway)
        self._http = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._body = json.dumps({"columns": sample(inputs, 1)}).encode()
        self._headers = {"Authorization": f"Bearer {target.token}", "Content-Type": "application/json"}

    def one_ms(self) -> float:
        """Milliseconds of one."""
        began = time.perf_counter()
        self._http.request("POST", f"/v1/models/{MODEL}/score", self._body, self._headers)
        answer = self._http.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a small request got {answer.status}")
        return (time.perf_counter() - began) * 1000


def measure(target: Stack, folder: Path, rows: int, rounds: int) -> dict[str, float]:
    """All figures of one stack."""
    inputs = manifest_of(target)["signature"]["inputs"]
    data, head = binary(inputs, sample(inputs, rows))
    body = folder / "binary"
    body.write_bytes(data)
    small = Small(target, inputs)
    alone = sorted(small.one_ms() for _ in range(300))[50:]
    for _ in range(2):
        seconds(large(target, body, head))
    whole, inside = [], []
    for _ in range(rounds):
        before = target.in_scorer_s()
        whole.append(seconds(large(target, body, head)))
        inside.append(target.in_scorer_s() - before)
    beside = []
    for _ in range(rounds):
        sent = large(target, body, head)
        while sent.poll() is None:
            beside.append(small.one_ms())
        seconds(sent)
    return {
        "scorer_s": statistics.median(inside),
        "end_to_end_s": statistics.median(whole),
        "small_p50_ms": statistics.median(alone),
        "small_beside_p50_ms": statistics.median(beside),
        "small_beside_p99_ms": sorted(beside)[int(len(beside) * 0.99)],
        "small_beside": len(beside),
    }


def plumber(target: Stack, folder: Path, rows: int, rounds: int) -> float:
    """Seconds of the same rows as JSON, to Plumber with the same model."""
    manifest = manifest_of(target)
    model = ROOT / ".dev" / target.name / "store/blobs/sha256" / manifest["files"]["model.rds"]["sha256"]
    columns = sample(manifest["signature"]["inputs"], rows)
    body = folder / "json"
    body.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ["Rscript", "--vanilla", str(Path(__file__).with_suffix(".R")), str(model), str(port)]
    with subprocess.Popen(argv) as server:  # noqa: S603
        try:
            until = time.monotonic() + 60
            while not answers(port):
                if time.monotonic() > until:
                    raise RuntimeError("Plumber did not start")
                time.sleep(0.1)
            url = f"http://127.0.0.1:{port}/score"
            return statistics.median(seconds(curl(url, body, "Content-Type: application/json")) for _ in range(rounds))
        finally:
            server.terminate()


def answers(port: int) -> bool:
    """Whether Plumber listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            return True
    except OSError:
        return False


def show(figures: dict[str, dict[str, float]]) -> None:
    """One line for each stack."""
    for label, row in figures.items():
        print(f"{label:20}" + "  ".join(f"{key} {value:.3g}" for key, value in row.items()), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stack(1, SCORER_LARGE_ROWS="100000000") as target:
            figures["one worker, uncut"] = measure(target, folder, options.rows, options.rounds)
        with stack(1) as target:
            figures["one worker"] = measure(target, folder, options.rows, options.rounds)
        with stack(2) as target:
            figures["two workers"] = measure(target, folder, options.rows, options.rounds)
            show(figures)
            json_s = plumber(target, folder, options.rows, max(1, options.rounds // 2))
    two = figures["two workers"]
    for label in ("one worker, uncut", "one worker"):
        print(
            f"two workers against {label}, in the scorer: {figures[label]['scorer_s'] / two['scorer_s']:.2f} times as fast"
        )
    print(f"Plumber with JSON: {json_s:.2f} s, {json_s / two['end_to_end_s']:.1f} times end to end")
    print(f"a small request beside it: {two['small_beside_p50_ms'] / two['small_p50_ms']:.1f} times its p50")


if __name__ == "__main__":
    main()
