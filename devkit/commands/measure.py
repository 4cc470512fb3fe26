"""`./dev bench` and `./dev load`: how much a stack takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devkit import benchmarks
from devkit.commands.options import NameOption, running_state
from devkit.commands.prepare import set_up
from devkit.commands.terminal import fail, out
from devkit.state import DEFAULT_NAME

BENCH_HELP = (
    "Measure scoregate side by side with what it replaces, each in a stack of its own on this machine alone.\n\n"
    "Prints tables, a line for each bound, and writes JSON under .dev/bench/results. Progress is on standard error; Ctrl-C stops "
    f"everything. Installs HAProxy and wrk if missing. The benchmarks:\n\n{benchmarks.listed()}"
)


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="Which; all of them if none.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Longer, more of each: what is to be quoted.")] = False,
    assert_bounds: Annotated[bool, typer.Option("--assert", help="Exit code 1 if a bound is missed.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, max=3600, help="Of each single measurement.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, max=100, help="In each, everything is measured once.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="R processes, of scoregate and of what it is beside.")
    ] = 2,
) -> None:
    """Run benchmarks; all of them if none is named."""
    from devkit import system
    from load_tests.bench.plan import Plan

    if unknown := [name for name in names or [] if name not in benchmarks.BY_NAME]:
        fail(f"no benchmark {', '.join(unknown)}; there are {', '.join(benchmarks.BY_NAME)}")
    set_up()
    try:
        system.install_packages("haproxy", "wrk")
        met = benchmarks.run(names or [], Plan(full=full, seconds=seconds, rounds=rounds, workers=workers))
    except (system.MissingError, RuntimeError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(int(assert_bounds and not met))


def load(
    shape: Annotated[
        str,
        typer.Argument(
            metavar="steady|step|spike|soak",
            help="All users at once; five steps up; a tenth, all, a tenth; half of them for long.",
        ),
    ] = "steady",
    host: Annotated[
        str | None,
        typer.Option(help="Another gateway's URL; as whom is said by SCOREGATE_TENANT, _CLIENT_ID, _CLIENT_SECRET, …"),
    ] = None,
    users: Annotated[int, typer.Option("--users", "-u", min=1, help="Users when there are most.")] = 50,
    seconds: Annotated[int, typer.Option("--seconds", "-t", min=0, help="Length; 0: as is usual for the shape.")] = 0,
    model: Annotated[str, typer.Option(help="Models, with commas; users take turns.")] = "boston-housing",
    rows: Annotated[int, typer.Option(min=1, help="Rows of each request.")] = 1,
    callers: Annotated[
        str, typer.Option(help="Several callers: a local stack's apps, with commas, or a .toml file.")
    ] = "",
    user_rate: Annotated[
        float, typer.Option(min=0, help="Requests a second of each user; 0: as fast as they are answered.")
    ] = 0,
    max_failures: Annotated[float, typer.Option(min=0, max=100, help="Percent of requests that may fail.")] = 0,
    max_p95_ms: Annotated[float, typer.Option(min=0, help="Longest 95th percentile; 0: any.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Where the report goes; by default .dev/load/.")] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Locust's web page, to choose users and look; no shape, no report.")
    ] = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """
    Load a gateway with Locust and check every answer; writes an HTML report with charts.

    Users get tokens through MSAL and score the models' own example rows. Exit code 1 if a threshold is broken: by
    default one wrong answer or failure is enough. For a local stack start it with `./dev up --detach --rate
    1000000/minute`, or the limit is what is measured (a 429 is counted apart and is no failure).
    """
    from devkit import load as loads
    from load_tests.shapes import SHAPES

    if shape not in SHAPES:
        fail(f"{shape} is no shape; there are {', '.join(SHAPES)}")
    if report is not None and report.is_dir():
        fail(f"{report} is a folder: give the name of a file in it, such as {report / (shape + '.html')}")
    if host is None:
        running_state(name)
    wanted = loads.Load(
        shape=shape,
        users=users,
        seconds=seconds or SHAPES[shape].seconds,
        stack=name,
        host=host,
        models=model,
        rows=rows,
        callers=callers,
        user_rate=user_rate,
        max_failures=max_failures,
        max_p95_ms=max_p95_ms,
        web=web,
        report=report,
    )
    if not web:
        out.print(f"{shape}: {SHAPES[shape].what}; {users} users, {wanted.seconds} s", markup=False)
    code, written = loads.run(wanted)
    if written.exists():
        out.print(f"report: {written}", markup=False)
    if not web and code in loads.VERDICTS:
        out.print(loads.VERDICTS[code], markup=False)
    raise typer.Exit(code)
