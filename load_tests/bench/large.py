"""One request of 100,000 rows: on two workers against one, against plain Plumber with JSON, and what small requests notice.

    python -m load_tests.bench.large [--model rf --model lm --model ranger] [--rows 100000] [--rounds 7]

Three stacks of our own run at the same time: one worker that takes the request whole, one worker and two with the request cut.
Each round asks each of them once, one after the other, and a plain Plumber process with the same model and the rows as JSON;
before each request the machine must be idle for a moment. Printed, as medians: the predict stage (in the scorer, from the
request's first run to its answer), the time end to end by binary Open Inference Protocol, and one-row requests with nothing else
to do and while large ones run. The sender, the gateway and R share the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import statistics
import subprocess
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from client.openloop import percentile
from load_tests.bench import servers
from load_tests.bench.servers import KINDS, Scoregate, Store, say
from shared.messages import HEADER_LENGTH

UNCUT, ONE, TWO = "one worker, uncut", "one worker", "two workers"
_IDLE_SHARE, _IDLE_S, _IDLE_WITHIN_S = 0.15, 0.25, 30.0
Columns = dict[str, list[float]]
Inputs = list[dict[str, Any]]


def busy() -> tuple[int, int]:
    """Ticks that the machine's processors have worked, and that have passed for them."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def wait_until_idle() -> bool:
    """Wait until others leave the machine alone, for half a minute at most; whether they did."""
    until = time.monotonic() + _IDLE_WITHIN_S
    while time.monotonic() < until:
        worked, passed = busy()
        time.sleep(_IDLE_S)
        now_worked, now_passed = busy()
        if now_worked - worked < _IDLE_SHARE * (now_passed - passed):
            return True
    return False


def sample(inputs: Inputs, rows: int) -> Columns:
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


def binary(inputs: Inputs, columns: Columns) -> tuple[bytes, int]:
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


def curl(url: str, body: Path, headers: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Send a file by a process of its own."""
    argv = ["curl", "-sS", "-f", "-o", "/dev/null", "-w", "%{time_total}", url, "-H", "Expect:"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    return subprocess.Popen([*argv, "--data-binary", f"@{body}"], stdout=subprocess.PIPE)  # noqa: S603


def seconds(sent: subprocess.Popen[bytes]) -> float:
    """How long it took. Raises RuntimeError if it was refused."""
    out, _ = sent.communicate()
    if sent.returncode:
        raise RuntimeError(f"curl: {sent.returncode}")
    return float(out)


class Target:
    """A stack and a model of it: how it is asked, and what was measured."""

    def __init__(self, stack: Scoregate, model: str, body: Path, head: int) -> None:
        self.stack = stack
        self.model = model
        self._body = body
        self._headers = stack.headers | {
            HEADER_LENGTH: str(head), "Content-Type": "application/octet-stream", "X-Request-Timeout-Ms": "60000",
        }  # fmt: skip
        self.stage_s: list[float] = []
        self.whole_s: list[float] = []

    def send(self) -> subprocess.Popen[bytes]:
        """The large request."""
        return curl(f"{self.stack.url}/v2/models/{self.model}/infer", self._body, self._headers)

    def measure(self) -> None:
        """One large request, alone."""
        before = self._stages_s()
        self.whole_s.append(seconds(self.send()))
        self.stage_s.append(self._stages_s() - before)

    def _stages_s(self) -> float:
        """Seconds that the scorer's requests for the model have been in the predict stage since its start."""
        url = f"{self.stack.status['scorer_internal_url']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
            lines = answer.read().decode().splitlines()
        of_model = [line for line in lines if line.startswith("scorer_runs_seconds_sum{") and self.model in line]
        return sum(float(line.rpartition(" ")[2]) for line in of_model)


class Small:
    """One-row requests on one kept connection."""

    def __init__(self, target: Target, inputs: Inputs) -> None:
        parts = urlsplit(target.stack.url)
        self._http = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._body = json.dumps({"columns": sample(inputs, 1)}).encode()
        self._headers = target.stack.headers | {"Content-Type": "application/json"}
        self._path = f"/v1/models/{target.model}/score"

    def one_ms(self) -> float:
        """Milliseconds of one."""
        began = time.perf_counter()
        self._http.request("POST", self._path, self._body, self._headers)
        answer = self._http.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a small request got {answer.status}")
        return (time.perf_counter() - began) * 1000

    def alone_ms(self) -> list[float]:
        """Of 200, after 50 that do not count."""
        return [self.one_ms() for _ in range(250)][50:]

    def beside_ms(self, target: Target) -> list[float]:
        """One after the other while a large request runs."""
        sent = target.send()
        taken = []
        while sent.poll() is None:
            taken.append(self.one_ms())
        seconds(sent)
        return taken


def measure(stacks: Mapping[str, Scoregate], store: Store, model: str, rows: int, rounds: int, folder: Path) -> None:
    """Measure one model and print its figures."""
    inputs = store.manifest(model)["signature"]["inputs"]
    columns = sample(inputs, rows)
    body, text = folder / "binary", folder / "json"
    data, head = binary(inputs, columns)
    body.write_bytes(data)
    text.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]))
    targets = {label: Target(stack, model, body, head) for label, stack in stacks.items()}
    small = Small(targets[TWO], inputs)
    plain_s, alone_ms, beside_ms = [], [], []
    undisturbed = 0
    with servers.plumber(store, model, 1, folder) as (plain,):
        for target in targets.values():
            for _ in range(3):
                seconds(target.send())
        for done in range(rounds):
            say(f"{model}: round {done + 1} of {rounds}")
            for target in targets.values():
                undisturbed += wait_until_idle()
                target.measure()
            wait_until_idle()
            plain_s.append(seconds(curl(f"{plain.url}/score", text, {"Content-Type": "application/json"})))
            wait_until_idle()
            alone_ms += small.alone_ms()
            wait_until_idle()
            beside_ms += small.beside_ms(targets[TWO])
    for label, target in targets.items():
        spread = f"{min(target.stage_s):.3f} to {max(target.stage_s):.3f}"
        print(
            f"{model}, {label}: predict stage {statistics.median(target.stage_s):.3f} s ({spread}), "
            f"end to end {statistics.median(target.whole_s):.3f} s"
        )
    print(f"{model}, plain Plumber with JSON: end to end {statistics.median(plain_s):.3f} s")
    stage_s = {label: statistics.median(target.stage_s) for label, target in targets.items()}
    alone, beside = statistics.median(alone_ms), statistics.median(beside_ms)
    print(
        f"{model}: two workers {stage_s[UNCUT] / stage_s[TWO]:.2f} times as fast as one uncut, "
        f"{stage_s[ONE] / stage_s[TWO]:.2f} times as one cut; "
        f"{statistics.median(plain_s) / statistics.median(targets[TWO].whole_s):.1f} times as fast as Plumber end to end; "
        f"one row {alone:.1f} ms alone, beside {beside:.1f} ({beside / alone:.1f} times), "
        f"p99 {percentile(beside_ms, 99):.0f}, {len(beside_ms)} requests; "
        f"machine idle before {undisturbed} of {rounds * len(targets)}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="append", choices=KINDS, help="again for another; all three by default")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    store = servers.store()
    with contextlib.ExitStack() as open_, tempfile.TemporaryDirectory() as folder:
        stacks = {
            UNCUT: open_.enter_context(servers.scoregate(store, workers=1, beside=1, SCORER_LARGE_ROWS="100000000")),
            ONE: open_.enter_context(servers.scoregate(store, workers=1, beside=2)),
            TWO: open_.enter_context(servers.scoregate(store, workers=2, beside=3)),
        }
        for kind in options.model or KINDS:
            measure(stacks, store, f"boston-{kind}", options.rows, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
