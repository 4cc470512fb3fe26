"""How long a large body holds up others: the gateway answers pings while it parses bodies of 4 MiB.

    SCOREGATE_URL=http://127.0.0.1:8080 SCOREGATE_TOKEN=$(./dev token) python -m load_tests.bench.stall

Each body goes by a process of its own (curl), so that making it costs the pings nothing. Prints, for valid and invalid rows and
columns, the slowest ping and the 99th percentile, beside those of an idle gateway. A ping is GET /v2/health/live on a kept
connection.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from client.openloop import percentile

SIZE_BYTES = 4 * 1024 * 1024
ROUNDS = 5
MODEL = "boston-housing"


def bodies(columns: dict[str, bool]) -> dict[str, bytes]:
    """Requests of about 4 MiB for a model with these columns of numbers (True: whole ones), each of its own kind."""
    names = list(columns)
    many = SIZE_BYTES // (27 * len(names))

    def number(name: str, n: int) -> str:
        return str(n) if columns[name] else repr(1.5 + n / 7)

    rows = [",".join(f'"{name}":{number(name, n)}' for name in names) for n in range(many)]
    rows = [f"{{{row}}}" for row in rows]
    by_column = ",".join(f'"{name}":[{",".join(number(name, n) for n in range(many))}]' for name in names)
    return {
        "rows": f'{{"rows":[{",".join(rows)}]}}'.encode(),
        "rows, the last one wrong": f'{{"rows":[{",".join([*rows, "{}"])}]}}'.encode(),
        "rows, all wrong": f'{{"rows":[{",".join(["{}"] * (SIZE_BYTES // 3))}]}}'.encode(),
        "columns": f'{{"columns":{{{by_column}}}}}'.encode(),
        "one long text": b'{"rows":[{"' + names[0].encode() + b'":"' + b"x" * SIZE_BYTES + b'"}]}',
        "deep": b'{"rows":' + b"[" * SIZE_BYTES,
        "truncated": f'{{"rows":[{",".join(rows)}'.encode(),
    }


class Pings:
    """One kept connection that asks over and over."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)

    def until(self, ended: subprocess.Popen[bytes] | None, seconds: float) -> list[float]:
        """Milliseconds of each ping, until the process has ended or the time is over."""
        times = []
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop and (ended is None or ended.poll() is None):
            began = time.perf_counter()
            self._http.request("GET", "/v2/health/live")
            self._http.getresponse().read()
            times.append((time.perf_counter() - began) * 1000)
        return times


def columns_of(url: str, token: str) -> dict[str, bool]:
    """The model's columns, and which take whole numbers only."""
    request = urllib.request.Request(f"{url}/v1/models/{MODEL}", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return {c["name"]: c["type"] == "integer" for c in json.load(answer)["signature"]["inputs"]}


def main() -> None:
    """Measure and print."""
    url, token = os.environ["SCOREGATE_URL"], os.environ["SCOREGATE_TOKEN"]
    pings = Pings(url)
    idle = pings.until(None, 2)
    result = {"idle": (max(idle), percentile(idle, 99), 0)}
    with tempfile.TemporaryDirectory() as folder:
        for name, body in bodies(columns_of(url, token)).items():
            file = Path(folder) / "body"
            file.write_bytes(body)
            times: list[float] = []
            status = ""
            for _ in range(ROUNDS):
                argv = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/v1/models/{MODEL}/score"]
                argv += ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {token}"]
                with subprocess.Popen(  # noqa: S603
                    [*argv, "--data-binary", f"@{file}"], stdout=subprocess.PIPE
                ) as curl:
                    times += pings.until(curl, 30)
                    assert curl.stdout is not None  # noqa: S101
                    status = curl.stdout.read().decode()
            result[name] = (max(times), percentile(times, 99), int(status))
    print(f"{'body of 4 MiB':28}{'status':>8}{'slowest ping':>14}{'p99':>8}   ms")
    for name, (most, p99, code) in result.items():
        print(f"{name:28}{code or '':>8}{most:14.1f}{p99:8.1f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
