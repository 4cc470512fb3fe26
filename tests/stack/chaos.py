"""What the tests of hostile models, poison and kills share: a healthy load that checks every bit, and facts about processes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from client.openloop import Gun, Shot
from devkit.examples import rows_to_send
from tests.stack.stack import Stack

HEALTHY = "boston-housing"
HOSTILE = "misbehaves"
#: Short times, so that a test sees them pass; operators have longer ones.
PREDICT_S, GRACE_S = 2.0, 0.5
SETTINGS = {
    "SCORER_MAX_PREDICT_S": str(PREDICT_S),
    "SCORER_PREDICT_GRACE_S": str(GRACE_S),
    "SCORER_PING_S": "0.5",
    "SCORER_WORKER_FILE_MIB": "16",
    "GATEWAY_LOST_R_S": "3600",  # these tests ask for trouble and for good as one caller
}


def expects(predictions: Sequence[float], body: bytes) -> str | None:
    """None if an answer has these predictions, to the last bit."""
    got = json.loads(body).get("predictions")
    return None if repr(got) == repr(list(predictions)) else f"{got} instead of {list(predictions)}"


def shot(model: str, rows: Sequence[Mapping[str, Any]], predictions: Sequence[float], **headers: str) -> Shot:
    """A request and its only right answer."""

    def wrong(status: int, body: bytes) -> str | None:
        return expects(predictions, body) if status == 200 else f"{status} {body[:300].decode()}"

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Shot(f"/v1/models/{model}/score", json.dumps({"rows": list(rows)}).encode(), wrong, named)


def healthy(stack: Stack) -> list[Shot]:
    """One request for each row of the reference model's example; its answers were computed where it was packaged."""
    manifest, _ = stack.published(HEALTHY)
    answers = manifest["example"]["outputs"]["prediction"]
    rows = rows_to_send(manifest)
    assert len(rows) == len(answers)
    return [shot(HEALTHY, [row], [answer]) for row, answer in zip(rows, answers, strict=True)]


def gun(stack: Stack) -> Gun:
    """Fires at the stack's gateway as an app that may do everything."""
    headers = {"Authorization": f"Bearer {stack.token()}", "Content-Type": "application/json"}
    return Gun(stack.gateway_url, headers)


def inside(stack: Stack) -> dict[str, Any]:
    """The scorer's own view."""
    found: dict[str, Any] = httpx.get(f"{stack.addresses['scorer_internal_url']}/status", trust_env=False).json()
    return found


def metric(stack: Stack, name: str, **labels: str) -> float:
    """A scorer metric, summed over the series that have these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = httpx.get(f"{stack.addresses['scorer_internal_url']}/metrics", trust_env=False).text.splitlines()
    series = [line.rpartition(" ") for line in lines]
    return sum(float(v) for s, _, v in series if s.partition("{")[0] == name and all(w in s for w in wanted))


def run_dir(stack: Stack) -> Path:
    """Where the scorer's R processes have their files."""
    return next(Path(w["socket"]).parents[2] for w in inside(stack)["workers"] if w["socket"])


def of_r(folder: Path) -> dict[int, str]:
    """Every living process that has, or had from its parent, the environment that the scorer of this folder gives to R."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                environment = (process / "environ").read_bytes()
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"={folder}/".encode() in environment and state != "Z":
                found[int(process.name)] = f"{state} {command}"
    return found


def settled(stack: Stack, folder: Path) -> bool:
    """Whether every version has a worker, none works, and nothing runs beside workers and zygotes."""
    status = inside(stack)
    workers, zygotes = status["workers"], status["zygotes"]
    known = {process["pid"] for process in [*workers, *zygotes]}
    served = {(w["model"], w["version"]) for w in workers if w["state"] in {"idle", "checked"}}
    wanted = {(v["model"], v["version"]) for v in status["versions"]}
    assert all(v["state"] == "ready" for v in status["versions"]), status["versions"]
    assert served == wanted, workers
    assert not status["busy"], workers
    strangers = {pid: what for pid, what in of_r(folder).items() if pid not in known}
    assert not strangers, strangers
    return True


def resident_mib(pid: int) -> float:
    """Memory of a process, shared or not; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0
