"""`scoregate capacity`: the highest rate that a gateway holds, where the time goes there, and what a wanted rate takes."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich import box
from rich.table import Table

from client.capacity import Means, Need, Search, Step, need, stages_of
from client.client import Client
from client.commands.options import GatewaysOption, ScorersOption, connected
from client.connection import Connection, UsageError
from client.csvdata import read_csv
from client.errors import ClientError
from client.models import Model
from client.openloop import Gun, Shot, is_here
from client.overview import Look, Overview, overview
from client.rows import table_of
from client.terminal import console, out, say
from client.watch import Watcher, internal_addresses

_SERVER_TIMING = re.compile(rb"\r\nserver-timing: *([^\r]*)", re.IGNORECASE)
_BODIES = 32
_WARM_S = 1.0
_FEWEST = 40  # requests of a step: a 95th percentile of fewer says little


class Found(msgspec.Struct, kw_only=True):
    """What `--json` prints. `knee_per_s` is 0 where not even the lowest rate was held; `at_least`: the search ended sooner."""

    model: str
    version: str
    rows: int
    p95_target_ms: float
    knee_per_s: float
    at_least: bool
    why: str
    steps: list[Step]
    stages_ms: dict[str, float]
    saved: float | None = None
    workers: int | None = None
    gateway_cpu_ms: float | None = None
    needs: list[Need] = []


@connected
def capacity(
    connection: Connection,
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="The model's name.")],
    version: Annotated[str | None, typer.Option(help="This version, not the one that serves by default.")] = None,
    target_ms: Annotated[float, typer.Option(min=1, help="What the 95th percentile may be.")] = 100.0,
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Rows of each request.")] = 1,
    data: Annotated[
        Path | None, typer.Option(metavar="DATA.csv", help="Rows to send; by default the model's own example.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(min=0.1, help="A rate you want to serve: says what it takes. Repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long each rate is tried.")] = 5.0,
    most: Annotated[float, typer.Option(min=1, help="Try no more requests a second than this.")] = 20_000.0,
    gateway: GatewaysOption = None,
    scorer: ScorersOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Send load to another machine: others' requests there will suffer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Find the knee of a model of rows: the highest rate at which the 95th percentile keeps its target and nothing fails.

    Sends requests at fixed rates (an open loop), each answer compared with the one that an idle service gave; doubles
    the rate, then narrows down to 10 %. Then: where the time went, and workers and pods for the rates you want. Raise
    the caller's limit first (./dev up --rate), or the limit is what is found. The generator takes a core: on one
    machine with the service it takes that from it, and its own use is shown.

    [dim]scoregate capacity --model boston-housing --stack dev --rate 500[/dim]
    [dim]scoregate capacity -m credit-default --url https://scoring.example.com --yes[/dim]
    """
    url, trusted = connection.where()
    if not is_here(url) and not yes:
        raise UsageError(f"{url} is another machine, and this loads it until it is late: say --yes if you may")
    gateways, scorers = internal_addresses(connection.stack, gateway or [], scorer or [])
    with connection.client() as client, Watcher(gateways, scorers) as watcher:
        described = client.model(model, version)
        if described.signature.is_function:
            raise UsageError(
                f"{model} is a function: capacity is measured of models of rows only, by requests of so many rows"
            )
        shots = _shots(client, described, data, rows)
        say(
            f"{model} {described.version}, {rows} rows a request, p95 at most {target_ms:g} ms, {seconds:g} s each rate"
        )
        measure = _Measure(connection, url, trusted, shots, seconds, here_only=not yes)
        steps, search, why, looks = _search(measure, watcher, target_ms, most)
    held = [step for step in steps if step.rate_per_s == search.good and step.held(target_ms)]
    found = Found(
        model=model,
        version=described.version,
        rows=rows,
        p95_target_ms=target_ms,
        knee_per_s=search.good,
        at_least=why != "",
        why=why,
        steps=steps,
        stages_ms=held[-1].stages_ms if held else {},
    )
    if looks is not None and held:
        _add_inside(found, *looks, wanted=rate or [], requests=held[-1].requests)
    elif rate:
        say("scoregate: workers and pods are known from internal ports only: give --gateway and --scorer")
    if as_json:
        out(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _show(found)


class _Measure:
    """Fires at one rate and says what came of it."""

    def __init__(
        self,
        connection: Connection,
        url: str,
        trusted: ssl.SSLContext | bool,
        shots: Sequence[Shot],
        seconds: float,
        *,
        here_only: bool,
    ) -> None:
        self._url, self._trusted, self._shots, self._here_only = url, trusted, shots, here_only
        self._credential = connection.credential()
        self._seconds = seconds

    def step(self, rate_per_s: float) -> Step:
        return asyncio.run(self._step(rate_per_s))

    async def _step(self, rate_per_s: float) -> Step:
        means = Means()
        token = await asyncio.to_thread(self._credential.token)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with Gun(
            self._url,
            headers,
            timeout_s=10,
            here_only=self._here_only,
            trusted=self._trusted if isinstance(self._trusted, ssl.SSLContext) else None,
            heard=lambda head: means.add(stages_of(_server_timing(head))),
        ) as gun:
            await gun.fire(self._shots, rate_per_s=rate_per_s, seconds=_WARM_S)
            means = Means()
            began, used = time.perf_counter(), time.process_time()
            seconds = max(self._seconds, _FEWEST / rate_per_s)
            report = await gun.fire(self._shots, rate_per_s=rate_per_s, seconds=seconds)
            cpu = (time.process_time() - used) / (time.perf_counter() - began)
        return Step(
            rate_per_s=rate_per_s,
            requests=report.intended,
            right=report.right,
            failures=dict(report.failures),
            p50_ms=report.percentile_ms(50),
            p95_ms=report.percentile_ms(95),
            generator_cpu=cpu,
            stages_ms=means.ms(),
        )


def _server_timing(head: bytes) -> str:
    found = _SERVER_TIMING.search(head)
    return found[1].decode("latin-1") if found else ""


def _search(
    measure: _Measure, watcher: Watcher, p95_ms: float, most: float
) -> tuple[list[Step], Search, str, tuple[Look, Look] | None]:
    """Every step, where it ended, why it ended early if it did, and the looks before and after the highest rate held."""
    search, steps, at_best = Search(10.0, most), [], None
    while (rate := search.next_rate()) is not None:
        # What was not held is tried once more: one pause of the machine is no knee.
        for again in (False, True):
            before = watcher.look()
            step = measure.step(rate)
            after = watcher.look()
            steps.append(step)
            held = step.held(p95_ms)
            say(_line(step, "held" if held else "once more" if not again else "not held"))
            _check_limit(step)
            if held or step.generator_was_busy:
                break
        if not held and step.generator_was_busy:
            why = f"the generator itself was busy ({step.generator_cpu:.2f} of a core): the service may hold more"
            return steps, search, why, at_best
        if held and rate >= search.good:
            at_best = (before, after)
        search.tell(rate, held=held)
    why = f"no higher rate was tried than {most:g}/s" if math.isinf(search.bad) else ""
    return steps, search, why, at_best


def _check_limit(step: Step) -> None:
    """Raises ClientError for a limit of calls or rows. Too many at once is what a service that is behind brings about by itself."""
    if any(said.startswith("429") and "concurrency" not in said for said in step.failures):
        raise ClientError(
            f"the caller's limit was reached at {step.rate_per_s:.1f}/s: raise it, or the limit is what is measured"
            " (./dev up --rate 1000000/minute; the policy's rate elsewhere)"
        )


def _shots(client: Client, model: Model, data: Path | None, rows: int) -> list[Shot]:
    """Requests whose answers are known: each was sent once, alone."""
    if data is None:
        have = table_of((model.example or {}).get("rows", []))
    else:
        try:
            with data.open(encoding="utf-8-sig", newline="") as lines:
                have = table_of(read_csv(lines, model.signature.inputs).columns)
        except OSError as error:
            raise UsageError(f"cannot read {data}: {error.strerror}") from error
    if not len(have):
        raise UsageError(f"{model.model} has no example: give rows with --data" if data is None else f"{data} is empty")
    columns = have.as_columns(field.name for field in model.signature.inputs)
    turn = itertools.cycle(range(len(have)))
    path = f"/v1/models/{model.model}/versions/{model.version}/score"
    shots = []
    for _ in range(min(_BODIES, len(have))):
        chosen = [next(turn) for _ in range(rows)]
        sent = [{name: values[i] for name, values in columns.items()} for i in chosen]
        expected = client.score(model.model, sent, model.version).predictions
        shots.append(Shot(path, msgspec.json.encode({"rows": sent}), _Wrong(expected)))
    return shots


class _Wrong:
    """What is the matter with an answer: its status, or predictions that are not those of the idle service."""

    def __init__(self, expected: list[Any]) -> None:
        self._expected = expected

    def __call__(self, status: int, body: bytes) -> str | None:
        try:
            said = msgspec.json.decode(body)
        except msgspec.MsgspecError:
            return f"{status} no JSON"
        if status != 200:
            return f"{status} {said.get('code', '')}"
        return None if said.get("predictions") == self._expected else "another answer than alone"


def _add_inside(found: Found, before: Look, after: Look, *, wanted: Sequence[float], requests: int) -> None:
    """What the internal ports said at the highest rate held."""
    seen: Overview = overview(before, after)
    slots = sum(pod.slots for pod in seen.pods)
    found.saved = None if math.isnan(seen.saved) else seen.saved
    found.workers = slots or None
    cpu_s = [
        now.sum("process_cpu_seconds_total") - then.sum("process_cpu_seconds_total")
        for address, now in after.gateways.items()
        if now is not None and (then := before.gateways.get(address)) is not None
    ]
    served = seen.requests_per_s * seen.seconds
    found.gateway_cpu_ms = 1000 * sum(cpu_s) / served if cpu_s and served >= requests else None
    found.needs = [
        need(
            one,
            found.knee_per_s,
            slots=slots,
            pods=sum(pod.answers for pod in seen.pods),
            gateway_cpu_s=found.gateway_cpu_ms / 1000 if found.gateway_cpu_ms else None,
        )
        for one in wanted
    ]


def _line(step: Step, verdict: str) -> str:
    failed = f", {step.requests - step.right} failed ({_most(step.failures)})" if step.failures else ""
    return (
        f"  {step.rate_per_s:8.1f}/s  p50 {step.p50_ms:7.1f} ms  p95 {step.p95_ms:7.1f} ms  "
        f"generator {step.generator_cpu:.2f} cores  {verdict}{failed}"
    )


def _most(failures: dict[str, int]) -> str:
    return max(failures, key=lambda said: failures[said])


def _show(found: Found) -> None:
    screen = console()
    if not found.knee_per_s:
        screen.print(f"not even {min(s.rate_per_s for s in found.steps):g}/s is within {found.p95_target_ms:g} ms")
        return
    more = f" at least: {found.why}" if found.at_least else ""
    screen.print(f"knee: {found.knee_per_s:,.1f} requests/s with p95 within {found.p95_target_ms:g} ms{more}")
    if found.saved is not None:
        workers = f" on {found.workers} workers" if found.workers else ""
        screen.print(f"there, {found.saved:.1f} requests shared each call of R{workers}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "mean ms"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, ms in found.stages_ms.items():
        table.add_row(stage, f"{ms:.2f}")
    screen.print(table)
    for one in found.needs:
        parts = [
            f"{number} {what}"
            for number, what in (
                (one.workers, "R workers"),
                (one.scorer_pods, "scorer pods as these"),
                (one.gateway_processes, "gateway processes"),
            )
            if number is not None
        ]
        most = " at most" if found.at_least else ""
        if not parts:
            screen.print("what a rate takes is known with --gateway and --scorer (internal addresses), or --stack")
            return
        screen.print(f"for {one.rate_per_s:g}/s, at 70 % of that:{most} {', '.join(parts)}")
