"""What of a load test is pure: shapes, thresholds, callers."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.connection import UsageError
from load_tests.callers import connections
from load_tests.shapes import SHAPES
from load_tests.thresholds import Outcome, Thresholds


def course(name: str, users: int = 50, seconds: int = 60) -> list[int | None]:
    return [SHAPES[name].users(at, seconds, users) for at in range(seconds + 1)]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("users", [1, 2, 7, 50])
def test_a_shape_has_a_user_at_least_and_its_most_at_most_and_ends(name: str, users: int) -> None:
    *during, end = course(name, users)
    assert end is None
    assert all(isinstance(n, int) and 1 <= n <= users for n in during)


def test_steps_go_up_five_times_and_reach_all_users() -> None:
    *during, _ = course("step")
    assert sorted(set(during), key=during.index) == [10, 20, 30, 40, 50]


def test_a_spike_is_a_third_of_the_run_and_both_ends_are_quiet() -> None:
    *during, _ = course("spike")
    assert during == [5] * 20 + [50] * 20 + [5] * 20


def test_that_limits_refused_some_of_it_is_said() -> None:
    assert Outcome(100, 0, 0, 9.0).note() is None
    assert (Outcome(100, 0, 90, 9.0).note() or "").startswith("90 of 100 requests were refused by the caller's limits")


GOOD = Outcome(requests=100, failures=0, refused=10, p95_ms=20.0)


def test_a_run_that_holds_every_threshold_breaks_none() -> None:
    assert Thresholds(0, 20, 90).broken(GOOD) == []


@pytest.mark.parametrize(
    ("thresholds", "outcome", "said"),
    [
        (Thresholds(min_requests=91), GOOD, "90 requests were served, at least 91 should be"),
        (Thresholds(), Outcome(0, 0, 0, None), "0 requests were served, at least 1 should be"),
        (Thresholds(), Outcome(100, 1, 0, 9.0), "1 of 100 requests failed, at most 0 % may"),
        (Thresholds(1), Outcome(10_000, 5, 9_900, 9.0), "5 of 100 requests failed, at most 1 % may"),
        (Thresholds(), Outcome(9, 0, 0, 9.0, ("no token",)), "users could not go on: no token"),
        (Thresholds(max_p95_ms=19), GOOD, "the 95th percentile is 20 ms, at most 19 ms may be"),
    ],
)
def test_each_threshold_that_is_broken_is_said(thresholds: Thresholds, outcome: Outcome, said: str) -> None:
    assert thresholds.broken(outcome) == [said]


def test_failures_below_what_is_allowed_break_nothing() -> None:
    assert Thresholds(max_failures_percent=1).broken(Outcome(100, 1, 0, 9.0)) == []


def test_one_caller_is_who_the_environment_says_and_host_goes_first() -> None:
    (one,) = connections({"SCOREGATE_URL": "https://a.example", "SCOREGATE_TOKEN": "t"}, "", "https://b.example")
    assert (one.url, one.token) == ("https://b.example", "t")


def test_callers_of_a_local_stack_are_its_apps() -> None:
    found = connections({"SCOREGATE_STACK": "dev"}, "all, one-model", None)
    assert [one.app for one in found] == ["all", "one-model"]


def test_callers_of_a_file_share_where_and_differ_in_who(tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    file.write_text('[[caller]]\nclient_id = "one"\nclient_secret = "s"\n[[caller]]\ntoken = "t"\n')
    environ = {"SCOREGATE_URL": "https://a.example", "SCOREGATE_TENANT": "tenant", "SCOREGATE_CLIENT_SECRET": "mine"}
    first, second = connections(environ, str(file), None)
    assert (first.url, first.tenant, first.client_id, first.client_secret) == (
        "https://a.example",
        "tenant",
        "one",
        "s",
    )
    assert (second.url, second.token, second.client_secret) == ("https://a.example", "t", None)


@pytest.mark.parametrize("text", ["", "[[caller]\n", "caller = 1\n", '[[caller]]\nclient = "x"\n'])
def test_a_file_that_names_no_callers_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "callers.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match="caller"):
        connections({}, str(file), None)


def test_names_without_a_local_stack_are_refused() -> None:
    with pytest.raises(UsageError, match="local stack"):
        connections({"SCOREGATE_URL": "https://a.example"}, "all", None)
