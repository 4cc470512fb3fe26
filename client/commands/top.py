"""`scoregate top`: what the gateways and scorers do now, live in the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from client.commands.options import GatewaysOption, ScorersOption
from client.connection import VARIABLES, UsageError
from client.errors import ConnectionFailedError
from client.overview import Look, Overview, overview
from client.terminal import console, out
from client.watch import Watcher, internal_addresses

_BAR = 24


def top(
    *,
    stack: Annotated[
        str | None,
        typer.Option(help="A local stack of ./dev up; its default name is dev.", envvar=VARIABLES["stack"]),
    ] = None,
    gateway: GatewaysOption = None,
    scorer: ScorersOption = None,
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
    gateways, scorers = internal_addresses(stack, gateway or [], scorer or [])
    if not gateways and not scorers:
        raise UsageError("whose? Give --stack dev, or --gateway and --scorer with their internal addresses")
    with Watcher(gateways, scorers) as watcher:
        before = watcher.look()
        if once or as_json:
            time.sleep(every)
            seen = overview(before, watcher.look())
            if as_json:
                out(msgspec.json.format(msgspec.json.encode(seen)).decode())
            else:
                console().print(screen(seen))
            return
        _live(watcher.look, before, every)


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
    table = _table("scorer pod", "workers", "busy", "demand", "rows wait", "oldest ms", "memory", "died since start")
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
