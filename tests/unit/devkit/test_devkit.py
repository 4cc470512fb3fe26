"""What the devkit decides without starting anything: names, paths, logs, policies, the request to paste."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from devkit import checks, cli, examples, launch, logs, policy, r, status
from devkit.settings_check import mistakes
from devkit.state import Home, State


@pytest.mark.parametrize("name", ["", "Dev", "a/b", "..", "-a", "a" * 33, "a b", "r-libs"])
def test_a_name_that_would_not_do_as_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name for a stack"):
        Home(name)


def test_a_stack_folder_is_closed_to_others_and_its_socket_paths_are_short(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    home = Home("dev", deep)
    home.make()
    assert home.folder.stat().st_mode & 0o777 == 0o700
    assert home.run_dir.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(home.run_dir)) <= 60
    assert Home("other", deep).run_dir != home.run_dir
    home.run_dir.rmdir()


def test_a_stack_runs_for_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    home = Home("dev", tmp_path)
    assert not home.is_running()
    lock = home.lock()
    assert lock is not None
    home.write(State(name="dev", phase="starting", supervisor=1))
    assert home.is_running()
    assert home.lock(within_s=0) is None
    assert home.read() == State(name="dev", phase="starting", supervisor=1)
    os.close(lock)
    assert not home.is_running()
    assert home.read() is None, "a state that a killed supervisor left behind is not believed"
    home.remove()


def test_a_json_log_line_is_shown_as_time_service_level_event_and_fields() -> None:
    line = {
        "event": "gateway.redis.away",
        "level": "warning",
        "timestamp": "2026-01-02T03:04:05.6Z",
        "took_ms": 5,
        "why": "a b",
        "caller": None,
    }
    assert (
        logs.render("gateway", json.dumps(line)).plain
        == '03:04:05 gateway   warning gateway.redis.away  took_ms=5 why="a b"'
    )


def test_an_exception_stands_below_its_line() -> None:
    line = {"event": "e", "level": "error", "timestamp": "2026-01-02T03:04:05Z", "exception": "Traceback:\n  Error"}
    assert logs.render("gateway", json.dumps(line)).plain.splitlines()[1:] == [
        f"{'':18}| Traceback:",
        f"{'':18}|   Error",
    ]


@pytest.mark.parametrize("text", ["plain", "{", "[1]", '{"no": "event"}', '{"event": 5}', "[bold]markup[/bold]"])
def test_any_other_log_line_is_shown_as_it_came(text: str) -> None:
    assert logs.render("redis", text).plain.endswith(f"redis     {text}")


def test_a_log_line_cannot_move_the_cursor() -> None:
    assert "\x1b" not in logs.render("scorer", "a\x1b[2Jb").plain
    assert "\x1b" not in logs.render("scorer", json.dumps({"event": "e", "level": "info", "x": "\x1b[2J"})).plain


def test_logs_are_read_by_service_and_half_a_line_is_not_a_line(tmp_path: Path) -> None:
    log = logs.Log(tmp_path / "log")
    log.line("gateway", "one")
    log.line("scorer", "two\twith a tab")
    log.close()
    with (tmp_path / "log").open("a") as file:
        file.write("gateway\thalf")
    assert list(logs.read(tmp_path / "log")) == [("gateway", "one"), ("scorer", "two\twith a tab")]
    assert list(logs.read(tmp_path / "log", "scorer")) == [("scorer", "two\twith a tab")]


def test_the_logs_of_a_service_are_those_of_each_of_its_processes(tmp_path: Path) -> None:
    log = logs.Log(tmp_path / "log")
    for service in ("scorer", "scorer-2", "gateway"):
        log.line(service, "up")
    log.close()
    assert [name for name, _ in logs.read(tmp_path / "log", "scorer")] == ["scorer", "scorer-2"]
    assert [name for name, _ in logs.read(tmp_path / "log", "scorer-2")] == ["scorer-2"]


def said_by(*words: str) -> str:
    """What `./dev` answers to words that it cannot use."""
    answer = CliRunner().invoke(cli.app, words)
    assert answer.exit_code == 1
    return answer.output


def test_a_status_says_of_each_service_why_it_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, **_: object) -> httpx.Response:
        if ":1/" in url:
            raise httpx.ConnectError("refused")
        loading = {"ready": False, "reasons": ["m 1: loading", "n 1: fetching"]}
        return httpx.Response(503, json=loading) if ":2/" in url else httpx.Response(200, json={"ready": True})

    monkeypatch.setattr(httpx, "get", get)
    state = State(name="s", phase="ready", supervisor=1)
    state.scorer_internal_urls, state.gateway_internal_urls = ["http://x:1", "http://x:2"], ["http://x:3"]
    assert status.not_ready(state) == {"http://x:1": "no answer", "http://x:2": "m 1: loading, n 1: fetching"}
    assert status.reasons(httpx.Response(503, text="no\n JSON")) == "no JSON"


def test_a_service_that_there_is_not_is_no_empty_log() -> None:
    assert "there is no service gatway; there are gateway, scorer, redis" in said_by("logs", "gatway")


def test_a_part_of_the_tests_that_there_is_not_runs_none_of_them() -> None:
    assert "untit is no part of the tests and no file; the parts are unit, service" in said_by("test", "untit", "-x")


def test_a_path_is_tested_instead_of_the_parts() -> None:
    one = "tests/unit/devkit/test_devkit.py::test_a_log_line_cannot_move_the_cursor"
    assert checks.pytest_argv([], [one, "-x"])[3:] == [one, "-x"]
    assert checks.pytest_argv([], ["-k", "logs"])[3:] == ["tests/unit", "tests/service", "tests/stack", "-k", "logs"]
    assert checks.pytest_argv(["unit"], ["-x"])[3:] == ["tests/unit", "-x"]


def test_settings_that_cannot_be_used_are_found_before_anything_is_started() -> None:
    assert mistakes({"HOME": "/", "GATEWAY_TENANTS": "the stack's own"}) == []
    found = mistakes({"GATEWAY_LOG_LEVEL": "loud", "SCORER_WORKERS": "two", "SCORER_WROKERS": "2"})
    assert [line.split(":")[0] for line in found] == [
        "GATEWAY_LOG_LEVEL", "SCORER_WORKERS", "SCORER_WROKERS is not a setting; did you mean SCORER_WORKERS?",
    ]  # fmt: skip


def test_without_a_rate_the_policy_is_the_one_that_is_in_the_repository(tmp_path: Path) -> None:
    assert policy.for_stack(tmp_path, None) == policy.FILE


def test_a_rate_changes_the_default_rate_and_nothing_else(tmp_path: Path) -> None:
    changed = yaml.safe_load(policy.for_stack(tmp_path, "7/minute").read_text())
    original = yaml.safe_load(policy.FILE.read_text())
    assert changed != original
    policy.set_default_rate(original, "7/minute")
    assert changed == original


def test_what_r_compiles_does_not_change_the_digest_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.R").write_text("1")
    before = r.digest(tmp_path)
    (tmp_path / "a.o").write_text("compiled")
    assert r.digest(tmp_path) == before
    (tmp_path / "a.R").write_text("2")
    assert r.digest(tmp_path) != before


def test_the_pasted_request_scores_the_first_row_of_the_models_own_example(tmp_path: Path) -> None:
    version = tmp_path / "models" / examples.REFERENCE / "1"
    version.mkdir(parents=True)
    fields = [{"name": "crim", "type": "double"}, {"name": "it's", "type": "string"}, {"name": "on", "type": "date"}]
    inputs = {"crim": [0.00632, 1.0], "it's": ["don't", None], "on": [19310, 0]}
    manifest = {"signature": {"inputs": fields, "outputs": []}, "example": {"inputs": inputs, "outputs": {}}}
    (version / "manifest.json").write_text(json.dumps(manifest))
    state = State(name="x", phase="ready", supervisor=1, gateway_url="http://127.0.0.1:1", store=tmp_path.as_uri())
    command = launch.announcement(Home(state.name), state).partition("curl ")[2].replace("\\\n", "")
    words = shlex.split(command)
    assert words[1] == f"http://127.0.0.1:1/v1/models/{examples.REFERENCE}/score"
    assert json.loads(words[-1]) == {"rows": [{"crim": 0.00632, "it's": "don't", "on": "2022-11-14"}]}
    assert "token --name x)" in command


def test_without_the_reference_model_the_pasted_request_lists_the_models(tmp_path: Path) -> None:
    state = State(name="dev", phase="ready", supervisor=1, gateway_url="http://127.0.0.1:1", store="az://models")
    assert "http://127.0.0.1:1/v1/models \\" in launch.announcement(Home(state.name), state)
