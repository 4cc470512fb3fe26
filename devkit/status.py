"""What runs and where, as `./dev status` shows it: addresses, processes by role, the scorer's workers and versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import msgspec

from devkit import logs
from devkit.processes import parse_listening
from devkit.state import Home, State


def collect(home: Home) -> dict[str, Any] | None:
    """All of it as JSON-able values; None if the stack does not run. Asks the services, at most 2 s each."""
    state = home.read()
    if state is None:
        return None
    state.gateway_internal_urls = _gateway_internal_urls(home, state)
    pods = [_get(url, "/status") or {} for url in state.scorer_internal_urls]
    workers = [worker["pid"] for pod in pods for worker in pod.get("workers", [])]
    zygotes = [zygote["pid"] for pod in pods for zygote in pod.get("zygotes", [])]
    processes: dict[str, list[int]] = {"supervisor": [state.supervisor]}
    for role in ("gateway", "scorer", "redis", "entra"):
        first = [pid for name, pid in state.sessions.items() if name == role or name.startswith(f"{role}-")]
        found = sorted({pid for one in first for pid in family(one)})
        processes[role] = [pid for pid in found if pid not in workers and pid not in zygotes]
    models = [
        {key: version.get(key) for key in ("model", "version", "state", "reason")}
        for version in next((pod["versions"] for pod in pods if pod.get("versions")), [])
    ]
    waited_for = not_ready(state)
    shown = {key: value for key, value in msgspec.to_builtins(state).items() if key not in ("sessions", "supervisor")}
    return {
        **shown,
        "processes": {**processes, "zygotes": zygotes, "workers": workers},
        "workers": workers,
        "models": models,
        "ready": state.phase == "ready" and bool(state.gateway_internal_urls) and not waited_for,
        "not_ready": waited_for,
    }


def described(found: dict[str, Any]) -> list[tuple[str, object]]:
    """What `collect` found as lines for people: a label, and what stands behind it."""
    return [
        (found["name"], "ready" if found["ready"] else found["phase"] if found["phase"] != "ready" else "not ready"),
        ("gateway", found["gateway_url"]),
        *(("", f"internal {url}{_lacks(found, url)}") for url in found["gateway_internal_urls"]),
        *(
            ("scorer", f"{url}  internal {internal}{_lacks(found, internal)}")
            for url, internal in zip(found["scorer_urls"], found["scorer_internal_urls"], strict=True)
        ),
        ("identity", found["authority"]),
        ("redis", found["redis_url"] or "none: the gateway counts in memory"),
        ("store", found["store"]),
        *((f"pids {role}", " ".join(map(str, pids)) or "none") for role, pids in found["processes"].items()),
        *(
            ("model", f"{m['model']} {m['version']} {m['state']}" + (f": {m['reason']}" if m["reason"] else ""))
            for m in found["models"]
        ),
    ]


def _lacks(found: dict[str, Any], internal_url: str) -> str:
    why = found["not_ready"].get(internal_url)
    return "" if why is None else f"  not ready: {why}"


def family(first: int) -> list[int]:
    """The living processes that belong to one: itself, its session, and its descendants in whatever session."""
    parents: dict[int, int] = {}
    members: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            status, parent, _, session, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if status != "Z":
            parents[int(stat.parent.name)] = int(parent)
            if first in (int(stat.parent.name), int(session)):
                members.add(int(stat.parent.name))
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return sorted(members)


def _gateway_internal_urls(home: Home, state: State) -> list[str]:
    """One for each gateway process. A process that was started again has said its new address in the log."""
    living = [url for url in state.gateway_internal_urls if _get(url, "/healthz") is not None]
    if len(living) == len(state.gateway_internal_urls):
        return living
    announced = [parse_listening(text) for _, text in logs.read(home.log_file, "gateway")]
    urls = {line["internal_url"] for line in announced if line}
    return sorted(url for url in urls if _get(url, "/healthz") is not None)


def not_ready(state: State) -> dict[str, str]:
    """Why not, by the internal address of each service that is not ready."""
    found = {}
    for url in (*state.scorer_internal_urls, *state.gateway_internal_urls):
        try:
            answer = httpx.get(f"{url}/readyz", timeout=2, trust_env=False)
            if answer.status_code != httpx.codes.OK:
                found[url] = reasons(answer)
        except httpx.HTTPError:
            found[url] = "no answer"
    return found


def reasons(answer: httpx.Response) -> str:
    """Why a service is not ready, from what its `/readyz` answered."""
    try:
        return ", ".join(answer.json()["reasons"])
    except (ValueError, LookupError, TypeError):
        return " ".join(answer.text.split())


def _get(url: str | None, path: str) -> dict[str, Any] | None:
    """The JSON object behind an address of ours; {} for a 200 with anything else, None for anything but 200."""
    if url is None:
        return None
    try:
        answer = httpx.get(f"{url}{path}", timeout=2, trust_env=False)
    except httpx.HTTPError:
        return None
    if answer.status_code != httpx.codes.OK:
        return None
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
