"""`scoregate top`: what the gateways and scorers do now, live in the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated

import httpx
import msgspec
import typer
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from client.connection import VARIABLES, UsageError, stack_state
from client.errors import ConnectionFailedError
from client.metrics import Samples
from client.overview import Look, Overview, overview
from client.terminal import console, out, say

_ANSWER_S = 2.0
_BAR = 24


def top(
    *,
    stack: Annotated[
        str | None,
        typer.Option(help="A local stack of ./dev up; its default name is dev.", envvar=VARIABLES["stack"]),
    ] = None,
    gateway: Annotated[
        list[str] | None, typer.Option(help="A gateway's internal address (port 9090); repeat for several.")
    ] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="A scorer pod's internal address (port 9091); repeat for several.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds from one look to the next.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Two looks, what went on between them, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As --once, as JSON.")] = False,
) -> None:
    """What gateways and scorers do now: requests, calls of R saved, stages, workers, queues. Ctrl-C ends it.

    It reads the metrics of internal ports, which need no token; on Kubernetes bring them here first:
    kubectl port-forward deploy/gateway 9090, and the same for each scorer pod on 9091.

    [dim]scoregate top --stack dev[/dim]
    [dim]scoregate top --gateway http://127.0.0.1:9090 --scorer http://127.0.0.1:9091[/dim]
    """
    gateways, scorers = _where(stack, gateway or [], scorer or [])
    with httpx.Client(trust_env=False, timeout=_ANSWER_S) as http, ThreadPoolExecutor(8) as threads:

        def look() -> Look:
            asked = [*gateways, *scorers]
            said = dict(zip(asked, threads.map(partial(_ask, http), asked), strict=True))
            found = Look(time.monotonic(), {g: said[g] for g in gateways}, {s: said[s] for s in scorers})
            if not any(one is not None for one in said.values()):
                raise ConnectionFailedError(f"nothing answers at {', '.join(said)}")
            return found

        before = look()
        if once or as_json:
            time.sleep(every)
            seen = overview(before, look())
            if as_json:
                out(msgspec.json.format(msgspec.json.encode(seen)).decode())
            else:
                console().print(screen(seen))
            return
        _live(look, before, every)


def _live(look: Callable[[], Look], before: Look, every: float) -> None:
    terminal = Console(highlight=False)
    with Live(Text("looking …"), console=terminal, screen=terminal.is_terminal, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                now = look()
            except ConnectionFailedError as error:
                live.update(Text(str(error), style="red"), refresh=True)
                continue
            live.update(screen(overview(before, now)), refresh=True)
            before = now


def _where(stack: str | None, gateways: list[str], scorers: list[str]) -> tuple[list[str], list[str]]:
    if not gateways and not scorers:
        if stack is None:
            raise UsageError("whose? Give --stack dev, or --gateway and --scorer with their internal addresses")
        state = stack_state(stack)
        gateways = state.gateway_internal_urls
        scorers = [state.scorer_internal_url] if state.scorer_internal_url else []
    elif stack is not None:
        say("scoregate: --gateway and --scorer are given; --stack is not looked at")
    return [_address(url) for url in dict.fromkeys(gateways)], [_address(url) for url in dict.fromkeys(scorers)]


def _address(given: str) -> str:
    url = given if "://" in given else f"http://{given}"
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        host = ""
    if not host:
        raise UsageError(f"{given!r} is not an address such as http://127.0.0.1:9090")
    return url.rstrip("/")


def _ask(http: httpx.Client, url: str) -> Samples | None:
    try:
        answer = http.get(f"{url}/metrics").raise_for_status()
        return Samples.parse(answer.text)
    except (httpx.HTTPError, ValueError):
        return None


# --- the screen


def screen(seen: Overview) -> Group:
    """All of it, about 80 columns wide."""
    limits = {None: "", True: "limits shared in Redis", False: "[yellow]limits in memory[/yellow]"}[seen.limits_shared]
    away = f", [red]{seen.gateways_away} away[/red]" if seen.gateways_away else ""
    head = (
        f"[bold]scoregate[/bold]  {time.strftime('%H:%M:%S')}  {_count(seen.gateways, 'gateway')}{away}, "
        f"{_count(len(seen.pods), 'scorer pod')}  {limits}\n"
        f"[bold]{seen.requests_per_s:,.0f}[/bold] requests/s   {_failed(seen.failed_share)}   "
        f"{seen.refused_per_s:,.0f} at their limit/s   {seen.in_flight} in flight   {seen.waiting_rows} rows wait\n"
        f"R calls saved [bold]×{_number(seen.saved, '.1f')}[/bold]"
    )
    return Group(Text.from_markup(head), _models(seen), _pods(seen), _stages(seen))


def _models(seen: Overview) -> Table:
    table = _table("model", "requests/s", "failed", "rows/call", "requests/call", "R ms", "ms in all")
    for flow in seen.models:
        table.add_row(
            escape(flow.model),
            f"{flow.requests_per_s:,.0f}",
            _failed(flow.failed_share, short=True),
            _number(flow.rows_per_call, ".1f"),
            _number(flow.items_per_run, ".1f"),
            _number(flow.predict_ms, ".1f"),
            _number(flow.latency_ms, ".1f"),
        )
    return table


def _pods(seen: Overview) -> Table:
    table = _table("scorer pod", "workers", "busy", "demand", "rows wait", "oldest ms", "memory", "died")
    for pod in seen.pods:
        name = escape(pod.address.removeprefix("http://"))
        if not pod.answers:
            table.add_row(name, "[red]no answer[/red]", *[""] * 6)
            continue
        workers = " ".join(f"{n} {state}" for state, n in pod.workers.items()) or "none"
        demand = f"[yellow]{pod.demand:.2f}[/yellow]" if pod.demand > 0.7 else f"{pod.demand:.2f}"
        died = f"[red]{pod.ended_badly}[/red]" if pod.ended_badly else "0"
        memory = f"{pod.memory_bytes / 2**20:,.0f} MiB"
        wait = f"{pod.oldest_wait_ms:.0f}"
        table.add_row(name, workers, f"{pod.busy_share:.0%}", demand, str(pod.waiting_rows), wait, memory, died)
    return table


def _stages(seen: Overview) -> Table:
    table = _table("stage", "mean ms", "")
    longest = max(seen.stages_ms.values(), default=0.0)
    for stage, mean_ms in seen.stages_ms.items():
        table.add_row(stage, f"{mean_ms:.2f}", "█" * round(_BAR * mean_ms / longest) if longest else "")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return table


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:,{form}}"


def _failed(share: float, *, short: bool = False) -> str:
    text = f"{share:.1%}" + ("" if short else " failed")
    return f"[red]{text}[/red]" if share else text
