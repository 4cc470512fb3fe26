"""The `scoregate` command against the fake gateway: what it prints, where, and how it exits."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import client.r
from client import connection
from client.cli import main
from client.watch import internal_addresses
from tests.service.fake_gateway import TOKEN, FakeGateway, running

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running(FakeGateway()) as fake:
        yield fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    for variable in [v for v in os.environ if v.startswith("SCOREGATE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["scoregate", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    return invoke


@pytest.fixture
def there(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, run: Run) -> FakeGateway:
    """The connection, by variables."""
    monkeypatch.setenv("SCOREGATE_URL", gateway.url)
    monkeypatch.setenv("SCOREGATE_TOKEN", TOKEN)
    return gateway


@pytest.mark.parametrize("columns", ["45", None])
def test_a_name_stays_whole_in_a_narrow_terminal_and_a_line_in_a_pipe(
    run: Run, there: FakeGateway, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    story = "what it is for " * 20
    there.more["everything"] = {"description": story}
    if columns is None:
        monkeypatch.delenv("COLUMNS")
    else:
        monkeypatch.setenv("COLUMNS", columns)
    listed = run("models").out
    assert "everything" in listed
    assert (story.strip() in listed) is (columns is None)


def test_models_are_listed_and_one_is_shown_with_its_columns(run: Run, there: FakeGateway) -> None:
    there.more["adder"] = {"unavailable": {"3": "corrupt"}, "batchable": False, "batchable_reason": "looks around"}
    listed = run("models")
    assert listed.code == 0
    assert re.search(r"adder\s+2\s+2\s+a value\s+1, 3 \(unavailable\)\s+the adder", listed.out)
    assert re.search(r"everything\s+1\s+7\s+class, prob.lo, label", listed.out)
    one = run("models", "everything")
    assert re.search(r"size\s+factor\s+may be missing\s+S < M < NA", one.out)
    assert re.search(r"label\s+string", one.out)
    shown = run("models", "adder", "--version", "1").out
    assert "adder version 1" in shown
    assert "version 3 is unavailable: corrupt" in shown
    assert "scored request by request: looks around" in shown


def test_models_as_json_is_for_programs(run: Run, there: FakeGateway) -> None:
    assert [m["model"] for m in json.loads(run("models", "--output", "json").out)] == ["adder", "everything"]
    one = json.loads(run("models", "adder", "--output", "json").out)
    assert one["signature"]["inputs"][0]["name"] == "a"


def test_a_csv_is_scored_with_its_own_types_and_exact_doubles(run: Run, there: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('"","b","a","medv"\n"1",1,0.1,9\n"2",2,NA,9\n"3",0,4.9406564584124654e-324,9\n')
    scored = run("score", "adder", "--data", "rows.csv")
    assert scored.code == 0
    assert json.loads(scored.out) == {"model": "adder", "version": "2", "predictions": [1.1, None, 5e-324]}
    assert scored.err == "scoregate: left out, for adder does not take them: medv\n"
    assert run("score", "adder", "--data", "rows.csv", "--output", "csv").out == "prediction\n1.1\nNA\n5e-324\n"
    assert run("score", "adder", "-d", "rows.csv", "-o", "csv", "--binary").out == "prediction\n1.1\nNA\n5e-324\n"
    assert run("score", "adder", "-d", "rows.csv", "--version", "1").out.startswith('{"model":"adder","version":"1"')


def test_json_is_sent_as_it_is_from_a_file_or_stdin(run: Run, there: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('{"rows": [{"a": 1, "b": 2}]}')
    for arguments, stdin in (
        (("--data", "rows.json"), b""),
        (("--data", "-"), b' [{"a": 1, "b": 2}]'),
        (("--data", "-", "--format", "json"), b'{"columns": {"a": [1], "b": [2]}}'),
        (("--data", "-"), b"\xef\xbb\xbfa,b\n1,2\n"),
    ):
        assert json.loads(run("score", "adder", *arguments, stdin=stdin).out)["predictions"] == [3]


def test_tables_come_as_csv_with_every_output(run: Run, there: FakeGateway) -> None:
    rows = b'x,n,on,text,size,day,at\n1.5,1,TRUE,"a ""b"", c",S,2026-01-31,\n-Inf,,,,,,2026-01-31T00:00:00Z\n'
    finite = rows.replace(b"-Inf", b"-0.5")
    expected = 'class,prob.lo,label\nhi,1.5,"a ""b"", c|S|{}"\nlo,{},{}\n'
    assert run("score", "everything", "-d", "-", "-o", "csv", stdin=finite).out == expected.format(
        "2026-01-31", "-0.5", ""
    )
    binary = run("score", "everything", "-d", "-", "-o", "csv", "--binary", stdin=rows)
    assert binary.out == expected.format("20484.0", "-Inf", "")
    assert json.loads(run("score", "everything", "-d", "-", "--binary", stdin=finite).out)["predictions"][0] == {
        "class": "hi",
        "prob.lo": 1.5,
        "label": 'a "b", c|S|20484.0',
    }


def test_infinity_is_pointed_to_binary(run: Run, there: FakeGateway) -> None:
    refused = run("score", "adder", "-d", "-", stdin=b"a,b\nInf,1\n")
    assert (refused.code, refused.out) == (2, "")
    assert "use score_binary (or --binary)" in refused.err
    assert run("score", "adder", "-d", "-", "--binary", "-o", "csv", stdin=b"a,b\nInf,1\n").out == "prediction\nInf\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (
            ("score", "nope", "-d", "-"),
            b"a\n1\n",
            3,
            "404 not_found: there is no model 'nope'\n  `scoregate models` lists",
        ),
        (("score", "adder", "-d", "-"), b"a,c\n1,2\n", 2, "the file has no column b; it has a, c"),
        (("score", "adder", "-d", "-"), b"a,b\n1,x\n", 2, "line 2, b: 'x' is not a number"),
        (
            ("score", "adder", "-d", "-"),
            b'[{"a":1,"z":1}]',
            3,
            "/rows/0/z: the model has no such column\n  `scoregate models",
        ),
        (("score", "adder", "-d", "-"), b"a,b\n", 2, "stdin has no rows"),
        (("score", "adder", "-d", "-"), b"[]", 2, "stdin has no rows"),
        (("score", "adder", "-d", "-"), b"{", 2, "not JSON"),
        (("score", "adder", "-d", "-"), b"a,b\n\xff,1\n", 2, "stdin is not UTF-8 (byte 4)"),
        (("score", "adder", "-d", "none.csv"), b"", 2, "cannot read none.csv: No such file"),
        (("score", "adder", "-d", "/dev/null"), b"", 2, "is /dev/null CSV or JSON?"),
        (("models", "--token", "other"), b"", 3, "401 TokenSignatureInvalid: get a new token"),
        (("models", "--url", "ftp://x"), b"", 2, "not an http(s) URL"),
        (("models", "--url", "http://example.com"), b"", 2, "would send the token in the clear"),
        (("models", "--url", "https://localhost:1", "--ca-file", "/dev/null"), b"", 2, "cannot be used as a CA file"),
        (("models", "--nonsense"), b"", 2, "No such option: --nonsense"),
    ],
)
def test_what_goes_wrong_is_said_on_stderr_with_its_exit_code(
    run: Run, there: FakeGateway, arguments: tuple[str, ...], stdin: bytes, code: int, said: str
) -> None:
    result = run(*arguments, stdin=stdin)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert TOKEN not in result.err


def test_a_refusal_carries_its_request_id(run: Run, there: FakeGateway) -> None:
    there.refuse(status=403, code="forbidden", detail="role Models.Score.adder is missing")
    result = run("models")
    assert result.code == 3
    assert result.err.splitlines() == [
        "scoregate: 403 forbidden: role Models.Score.adder is missing",
        "  ask whoever runs the gateway for the role named above",
        "  request id fake-1",
    ]


def test_a_limit_that_outlasts_the_retries_is_unavailable(run: Run, there: FakeGateway) -> None:
    there.refuse(status=429, code="rate_limited", detail="100 an hour", retry_after_ms=3_600_000)
    result = run("models")
    assert result.code == 4
    assert "the limit opens again in 3600 s" in result.err


def test_nobody_there_is_unavailable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.retry.RetryPolicy.attempts", 1, raising=False)
    result = run("models", "--url", "http://127.0.0.1:1", "--token", "t")
    assert result.code == 4
    assert "cannot connect to http://127.0.0.1:1" in result.err


def test_without_a_gateway_or_an_identity_it_says_which_options_give_one(run: Run, gateway: FakeGateway) -> None:
    assert "Give --url (SCOREGATE_URL), or --stack dev" in run("models").err
    result = run("models", "--url", gateway.url)
    assert result.code == 2
    assert "Give --tenant and --client-id" in result.err


def test_a_token_file_that_is_not_there_is_said(run: Run, gateway: FakeGateway) -> None:
    result = run(
        "token",
        "--tenant",
        "t",
        "--client-id",
        "c",
        "--client-secret-file",
        "none",
        "--authority",
        "https://localhost:1",
    )
    assert result.code == 2
    assert "cannot read the secret" in result.err


def test_no_token_has_an_exit_code_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOREGATE_CLIENT_SECRET", "hunter2")
    result = run("token", "--tenant", "t", "--client-id", "c", "--authority", "https://localhost:1")
    assert (result.code, result.out) == (5, "")
    assert "no token from https://localhost:1/t" in result.err
    assert "hunter2" not in result.err


def test_token_prints_the_token_alone(run: Run, there: FakeGateway) -> None:
    assert run("token").out == TOKEN + "\n"


def test_every_command_explains_itself_with_an_example(run: Run) -> None:
    for command in ("models", "score", "token", "package", "publish", "try", "verify"):
        result = run(command, "--help")
        assert result.code == 0
        assert f"scoregate {command} " in result.out.replace("\n", " ")
    assert run().code in {0, 2}
    assert "Exit codes:" in run("--help").out


def test_a_reader_that_has_had_enough_is_no_error_to_speak_of(there: FakeGateway) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "client", "models", "--output", "json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


# --- verify, with an R that is a few lines of Python

_RSCRIPT = """#!{python}
import struct, sys
from array import array
arguments = sys.argv[1:]
if arguments[0] == "-e":
    sys.stdout.write("/library/scoregate/scripts/" + arguments[-1])
    sys.exit()
script, package, data, out = arguments[1:]
assert (arguments[0], script) == ("--vanilla", "/library/scoregate/scripts/expected.R"), arguments
body = open(data, "rb").read()
(rows,) = struct.unpack_from("<i", body)
a = array("d", body[4 : 4 + 8 * rows])
b = array("i", body[4 + 8 * rows :])
if 13 in b:
    print("Error: I do not add 13\\nand say so\\nExecution halted", file=sys.stderr)
    sys.exit(1)
nan = float("nan")
answers = array("d", [nan if n == -(2**31) else x + n for x, n in zip(a, b, strict=True)])
open(out, "wb").write(struct.pack("<i", rows) + answers.tobytes())
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the adder, and an Rscript that adds."""
    programs = tmp_path / "bin"
    programs.mkdir()
    rscript = programs / "Rscript"
    rscript.write_text(_RSCRIPT.format(python=sys.executable))
    rscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(client.r, "CHECKOUT", tmp_path)
    client.r.environment.cache_clear()
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.rds").write_bytes(b"model")
    file = {"sha256": hashlib.sha256(b"model").hexdigest(), "size": 5}
    manifest = {"format": "scoregate.model/1", "name": "adder", "version": "2", "files": {"model.rds": file}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    yield folder
    client.r.environment.cache_clear()


def write_rows(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b"])
        writer.writerows([[repr(math.sin(i)), "NA" if i % 7 == 3 else i] for i in range(20, 20 + rows)])


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_verify_compares_every_row_to_the_last_bit(
    run: Run, there: FakeGateway, package: Path, tmp_path: Path, form: tuple[str, ...]
) -> None:
    write_rows(tmp_path / "rows.csv", 12_345)
    result = run("verify", "adder", "rows.csv", "--package", str(package), *form)
    assert (result.code, result.out) == (0, "adder 2: 12,345 rows, 0 bits differ\n"), result.err
    assert any("/infer" in path for path in there.paths) is (form == ())


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_verify_shows_the_first_rows_that_differ_and_fails(
    run: Run, there: FakeGateway, package: Path, tmp_path: Path, form: tuple[str, ...]
) -> None:
    write_rows(tmp_path / "rows.csv", 30)
    there.wrong_by = 1e-12
    result = run("verify", "adder", "rows.csv", "--package", str(package), *form)
    assert result.code == 1
    lines = result.out.splitlines()
    assert re.fullmatch(r"row 1 prediction: R here 20\.9129\d+, the gateway 20\.9129\d+ \(\d+ steps apart\)", lines[0])
    assert lines[-2] == "… and 16 more values"
    assert re.fullmatch(r"adder 2: 30 rows, [\d,]+ bits differ \(in 26 of 30 values, 26 rows\)", lines[-1])


def test_verify_fetches_the_package_from_the_store(run: Run, there: FakeGateway, package: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 5)
    published = run("publish", str(package), "--store", "store")
    assert published.out.startswith("adder 2: published (5 bytes sent, sha256 ")
    assert run("publish", str(package), "--store", "store").out.startswith("adder 2: already there, the same")
    result = run("verify", "adder", "rows.csv", "--store", "store")
    assert (result.code, result.out) == (0, "adder 2: 5 rows, 0 bits differ\n"), result.err
    wrong = run("verify", "adder", "rows.csv", "--store", "store", "--version", "1")
    assert wrong.code == 1
    assert "has no complete adder version 1" in wrong.err


def test_verify_takes_a_local_stacks_own_store(
    run: Run, gateway: FakeGateway, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.csv", 5)
    assert run("publish", str(package), "--store", "store").code == 0
    make_devkit(tmp_path, gateway, monkeypatch)
    result = run("verify", "adder", "rows.csv", "--stack", "mine")
    assert (result.code, result.out) == (0, "adder 2: 5 rows, 0 bits differ\n"), result.err


def test_verify_sends_all_rows_at_once_where_an_answer_depends_on_the_others(
    run: Run, there: FakeGateway, package: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", 12_345)
    there.batchable = False
    assert run("verify", "adder", "rows.csv", "--package", str(package)).code == 0
    assert len([path for path in there.paths if "/infer" in path]) == 1


@pytest.mark.parametrize(
    ("text", "arguments", "code", "said"),
    [
        ("a,b\n1,13\n", (), 1, "scoregate: I do not add 13 and say so"),
        ("a,b\n", (), 2, "rows.csv has no rows"),
        ("a\n1\n", (), 2, "the file has no column b"),
        ("a,b\n1,1\n", ("--version", "1"), 2, "is adder 2, the gateway serves adder 1; choose with --version"),
        ("a,b\n1,1\n", ("--store", "file:///x"), 2, "Give either --store URL or --package DIR"),
    ],
)
def test_verify_says_what_is_wrong(
    run: Run,
    there: FakeGateway,
    package: Path,
    tmp_path: Path,
    text: str,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    (tmp_path / "rows.csv").write_text(text)
    result = run("verify", "adder", "rows.csv", "--package", str(package), *arguments)
    assert result.code == code
    assert said in result.err


def test_verify_without_r_says_how_to_get_it(
    run: Run, there: FakeGateway, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.csv", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("verify", "adder", "rows.csv", "--package", str(package))
    assert result.code == 1
    assert "Rscript is not on the PATH; install R" in result.err


def test_package_checks_what_it_is_given_before_it_starts_r(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fit.rds").write_bytes(b"")
    (tmp_path / "rows.csv").write_bytes(b"")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    for arguments, said in (
        (("none.rds", "--sample", "rows.csv"), "there is no file none.rds"),
        (("fit.rds", "--sample", "none.csv"), "there is no file none.csv"),
        (("fit.rds", "--sample", "rows.csv", "--name", "No"), "'No' is not a model name"),
        (("fit.rds", "--sample", "rows.csv", "--version", "v1"), "'v1' is not N[.N[.N]]"),
        (("fit.rds", "--sample", "rows.csv", "--out", "full"), "full exists and is not an empty folder"),
        (("fit.rds", "--sample", "rows.csv", "--level", "0.9"), "give --interval prediction or confidence too"),
        (("fit.rds",), "Missing option '--sample'"),
    ):
        result = run("package", *arguments)
        assert result.code == 2
        assert said in result.err


@pytest.mark.parametrize(
    ("r_does", "code", "said"),
    [
        ("echo 'Usage: interval must be' >&2; exit 2", 2, "scoregate: interval must be"),
        ("echo 'Error: it cannot score' >&2; exit 1", 1, "scoregate: it cannot score"),
        ("echo 'and that was it' >&2; exit 2", 1, "R stopped: and that was it"),
        ("exit 0", 1, "R ended, and with status 0, before the package was written"),
    ],
    ids=["arguments", "a model", "its own end", "quit()"],
)
def test_package_tells_what_r_finds_wrong_with_arguments_from_what_fails(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, r_does: str, code: int, said: str
) -> None:
    (tmp_path / "fit.rds").write_bytes(b"")
    (tmp_path / "rows.csv").write_bytes(b"")
    rscript = tmp_path / "bin" / "Rscript"
    rscript.parent.mkdir()
    rscript.write_text(f'#!/bin/sh\nif [ "$1" = -e ]; then echo package.R; exit; fi\n{r_does}\n')
    rscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{rscript.parent}{os.pathsep}{os.environ['PATH']}")
    result = run("package", "fit.rds", "--sample", "rows.csv")
    assert result.code == code
    assert said in result.err


# --- a local stack, by a devkit that is a few lines of Python

_DEVKIT = """
import json, sys
arguments = sys.argv[1:]
name = arguments[arguments.index("--name") + 1]
if name != "mine":
    print(f"{{name}} is not running. Start it with: ./dev up --name {{name}}", file=sys.stderr)
    sys.exit(3)
if arguments[0] == "status":
    pods = {{"scorer_internal_url": "http://127.0.0.1:1", "scorer_internal_urls": ["http://127.0.0.1:1", "http://127.0.0.1:2"]}}
    print(json.dumps({{"gateway_url": {url!r}, "store": {store!r}, "novelty": 1, **pods}}))
else:
    print("{token}" if "--app" not in arguments else "token-of-" + arguments[arguments.index("--app") + 1])
"""


def make_devkit(root: Path, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `root` a checkout as far as the command looks."""
    (root / "devkit").mkdir()
    (root / "devkit" / "__init__.py").write_text("")
    text = _DEVKIT.format(url=gateway.url, token=TOKEN, store=(root / "store").as_uri())
    (root / "devkit" / "__main__.py").write_text(text)
    monkeypatch.setattr(connection, "CHECKOUT", root)
    monkeypatch.delenv("PYTHONPATH", raising=False)


def test_a_local_stack_needs_its_name_alone(
    run: Run, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_devkit(tmp_path, gateway, monkeypatch)
    assert "adder" in run("models", "--stack", "mine").out
    assert run("token", "--stack", "mine", "--app", "one-model").out == "token-of-one-model\n"
    missing = run("models", "--stack", "other")
    assert missing.code == 2
    assert "other is not running" in missing.err
    (tmp_path / "site-packages" / "devkit").mkdir(parents=True)
    for elsewhere in ("elsewhere", "site-packages"):
        monkeypatch.setattr(connection, "CHECKOUT", tmp_path / elsewhere)
        assert "--stack needs a checkout" in run("models", "--stack", "mine").err


def test_of_a_local_stack_every_scorer_is_watched(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_devkit(tmp_path, gateway, monkeypatch)
    assert internal_addresses("mine", [], [])[1] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


# --- stores


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("promote", "../x", "1"), "'../x' is not a model name"),
        (("promote", "m", "../../x"), "'../../x' is not a version"),
        (("retract", "m", "../../x"), "'../../x' is not a version"),
        (("retract", "m", "1/x", "--undo"), "'1/x' is not a version"),
    ],
)
def test_what_cannot_name_a_version_of_a_store_is_said_in_a_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "s").mkdir()
    result = run(*arguments, "--store", "s")
    assert result.code == 2
    assert result.err.startswith(f"scoregate: {says}")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("publish", "p"), ("promote", "m", "1"), ("retract", "m", "1")])
def test_an_empty_store_is_no_folder_that_happens_to_be_the_current_one(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments, "--store", "")
    assert result.code == 2
    assert "which store?" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("promote", "m", "1"), ("retract", "m", "1"), ("promote", "m", "--clear")])
def test_a_store_that_is_not_there_is_not_made_by_what_only_changes_one(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments, "--store", "mistyped")
    assert result.code == 1
    assert result.err == "scoregate: mistyped is not there: is it spelt right?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("timeout", ["0.001", "nan", "inf", "61"])
def test_a_deadline_out_of_range_is_said_in_a_line(run: Run, timeout: str) -> None:
    result = run("score", "m", "--data", "-", "--timeout-s", timeout)
    assert result.code == 2
    assert result.err.startswith("scoregate: --timeout-s is from 0.05 to 60 seconds")
