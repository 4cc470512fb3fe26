"""The pure parts of the benchmarks: figures, verdicts, what is asked, what a process used."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.openloop import NO_ANSWER, NOT_SENT, Report, percentile
from devkit import benchmarks
from load_tests.bench.compare import cells
from load_tests.bench.figures import growth_percent, median_difference, median_of, spread_percent
from load_tests.bench.ground import ANOTHER, wrong
from load_tests.bench.line import Line
from load_tests.bench.overload import _neither
from load_tests.bench.processes import Used, cpu_seconds, per_thousand
from load_tests.bench.questions import Question, _quoted, batches, scoring
from load_tests.bench.report import Result, table
from load_tests.bench.verdicts import at_least, at_most, none_wrong
from load_tests.bench.watch import Held, watching
from load_tests.bench.wrk import Load

INPUTS = [
    {"name": "x", "type": "double", "range": [0.5, 2.5]},
    {"name": "n", "type": "integer", "range": [1, 3]},
]


# --- figures


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_one_of_the_values_that_so_many_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values) * (1 - 1e-12)
    assert sum(value < found for value in values) * 100 <= percent * len(values) * (1 + 1e-12)


def test_percentiles_of_nothing_are_no_number() -> None:
    assert math.isnan(percentile([], 50))
    assert [percentile(list(range(1, 101)), p) for p in (50, 99, 100)] == [50, 99, 100]


def test_a_median_of_rounds_takes_each_figure_by_itself() -> None:
    rounds = [{"a": 1.0, "b": 9.0}, {"a": 3.0, "b": 8.0}, {"a": 2.0}]
    assert median_of(rounds) == {"a": 2.0, "b": 8.5}


def test_a_median_of_differences_is_not_the_difference_of_medians() -> None:
    assert median_difference([(5, 4), (50, 10), (3, 2)]) == 1
    assert math.isnan(median_difference([]))


def test_growth_leaves_the_first_minute_out_and_one_high_sample_does_not_decide() -> None:
    samples = [(float(t), 100.0 if t < 60 else 200.0) for t in range(0, 600, 10)]
    assert growth_percent(samples, 60) == 0
    samples[-1] = (590.0, 400.0)
    assert growth_percent(samples, 60) == 0
    assert growth_percent([(float(t), 100.0 + t) for t in range(100)], 0) == pytest.approx(67, abs=1)
    assert growth_percent([(0.0, 1.0)], 0) == 0


def test_the_spread_is_that_of_the_one_furthest_from_the_mean() -> None:
    assert spread_percent([100, 100, 130]) == pytest.approx(18.18, abs=0.01)
    assert spread_percent([]) == 0


# --- verdicts


@pytest.mark.parametrize(
    ("verdict", "met"),
    [
        (at_least("a", 12.0, 12), True),
        (at_least("a", 11.9, 12), False),
        (at_most("a", 1.2, 1.2), True),
        (at_most("a", 1.21, 1.2), False),
        (at_most("a", math.nan, 1.2), False),
        (none_wrong(0, 10), True),
        (none_wrong(1, 10), False),
        (none_wrong(0, 0), False),
    ],
)
def test_a_bound_is_met_or_missed_and_what_was_not_measured_meets_none(verdict: object, met: bool) -> None:
    assert verdict.met is met  # type: ignore[attr-defined]
    assert verdict.line().startswith("met" if met else "MISSED")  # type: ignore[attr-defined]


def test_a_verdict_says_figure_bound_and_aim() -> None:
    assert at_least("throughput", 7.4, 12, "x", 15).line() == "MISSED throughput: 7.4x  (bound >= 12x, aim 15)"


# --- the result


def test_a_result_is_a_table_and_a_file_that_json_reads(tmp_path: Path) -> None:
    result = Result("some", [("title", [{"": "a", "per s": 1234.5}, {"": "b", "p50 ms": 0.1234}])], [none_wrong(0, 0)])
    assert not result.met
    assert "1,234" in result.text()
    assert "MISSED" in result.text()
    read = json.loads(result.write(tmp_path).read_text())
    assert read["tables"][0]["rows"][1] == {"": "b", "p50 ms": 0.1234}
    assert read["verdicts"][0]["measured"] is None


def test_a_table_has_a_column_for_every_name() -> None:
    assert table([{"": "a", "x": 1}, {"": "bb", "y": 2}]).splitlines() == ["    x  y", "a   1   ", "bb     2"]


@pytest.mark.parametrize("benchmark", benchmarks.BENCHMARKS, ids=lambda b: b.name)
def test_every_benchmark_exists_and_is_listed_with_what_it_shows(benchmark: benchmarks.Benchmark) -> None:
    assert callable(benchmark.load())
    assert f"`{benchmark.name}`: {benchmark.shows}" in benchmarks.listed()
    assert importlib.import_module(f"load_tests.bench.{benchmark.name}").__doc__


# --- what is asked


def test_rows_are_the_same_every_time_within_the_ranges_and_no_two_requests_alike() -> None:
    drawn = batches(INPUTS, 3, 50)
    assert drawn == batches(INPUTS, 3, 50)
    assert all(0.5 <= row["x"] <= 2.5 and row["n"] in (1, 2, 3) for rows in drawn for row in rows)
    assert len({json.dumps(rows) for rows in drawn}) == 50


def test_the_right_answer_has_every_bit() -> None:
    question = scoring("m", {"Authorization": "Bearer t"}, [[{"x": 0.1}]], [[0.1 + 0.2]])
    assert question.pairs[0][1] == b'{"model":"m","version":"1","predictions":[0.30000000000000004]}'
    assert b"X-Request-Id: b0\r\n" in question.raw(0)
    assert question.raw(0).endswith(b'\r\n\r\n{"rows":[{"x":0.1}]}')


@given(st.text(alphabet="[]= a", max_size=12))
def test_a_quoted_text_ends_where_lua_ends_it(text: str) -> None:
    quoted = _quoted(text)
    level = quoted[1 : quoted.index("[", 1)]
    assert quoted.startswith(f"[{level}[")
    assert quoted.index(f"]{level}]", len(level) + 2) == len(quoted) - len(level) - 2
    assert quoted[len(level) + 2 : -len(level) - 2] == text


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "https://example.com", "http://127.0.0.1.example.com:80"])
def test_load_goes_to_this_machine_only(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not this machine"):
        Load.of(url, Question("/", {}, []), tmp_path)
    with pytest.raises(ValueError, match="not this machine"):
        Line(url)


# --- processes


def test_cpu_time_is_read_behind_a_name_with_spaces_and_brackets() -> None:
    fields = " ".join(["S"] + ["0"] * 10 + ["150", "50"] + ["0"] * 10)
    assert cpu_seconds(f"1 (a) b) {fields}") == 200 / os.sysconf("SC_CLK_TCK")


def test_a_new_process_counts_whole_and_one_that_ended_not_at_all() -> None:
    before, after = Used({"r": {1: 5.0, 2: 1.0}}), Used({"r": {1: 6.0, 3: 0.5}})
    assert after.since(before) == {"r": 1.5}
    assert per_thousand({"r": 1.5}, 3000) == {"r": 0.5}
    assert per_thousand({"r": 1.5}, 0) == {}


def test_this_process_has_used_time() -> None:
    assert Used.now(lambda: {"me": [os.getpid()], "gone": [2**22 - 3]}).since(Used({}))["me"] > 0


def test_growth_is_told_of_processes_that_lived_from_the_first_minute_to_the_end() -> None:
    held = Held(role={1: "gateway", 2: "R workers", 3: "R workers"}, seconds=100)
    held.samples = {
        1: [(t, 100.0 + t / 100, 9) for t in range(0, 100, 5)],
        2: [(t, 50.0, 9) for t in range(0, 40, 5)],  # ended
        3: [(t, 50.0, 9) for t in range(40, 100, 5)],  # came later
    }
    assert held.lasting(after_s=20) == [1]
    assert 0.4 < held.growth(1, 20) < 0.8
    assert [row[""] for row in held.rows(20)] == ["gateway 1"]


@pytest.mark.parametrize("ask_every_s", [0.0, 60.0])
async def test_processes_are_looked_for_again_when_one_has_ended_and_now_and_then(ask_every_s: float) -> None:
    ended = 4_194_305  # above the highest id that a process can have
    asked = 0

    def roles() -> dict[str, list[int]]:
        nonlocal asked
        asked += 1
        return {"here": [os.getpid(), ended] if asked < 3 else [os.getpid()]}

    async with watching(roles, 0.001, ask_every_s) as held, asyncio.timeout(20):
        while len(held.samples.get(os.getpid(), ())) < 6:  # noqa: ASYNC110  a sample has no event
            await asyncio.sleep(0.001)
    assert asked >= 6 if ask_every_s == 0.0 else asked == 3


# --- overload and the matrix


def test_refusing_clearly_is_no_failure_of_the_flood_but_silence_is() -> None:
    report = Report(intended=100, latencies_s=[0.1] * 10)
    report.failures.update({"503": 40, "429": 20, "504": 5, NO_ANSWER: 5, NOT_SENT: 20})
    assert _neither(report) == pytest.approx(5 / 80)


def test_the_whole_matrix_is_measured_in_full_and_the_forest_at_every_concurrency_always() -> None:
    assert sum(map(len, cells(full=True).values())) == 36
    assert cells(full=False)["rf", 1] == (1, 16, 64, 256)
    assert {kind for kind, _ in cells(full=False)} == {"rf", "lm", "ranger"}
    assert {rows for _, rows in cells(full=False)} == {1, 10, 1000}


def test_an_answer_that_differs_in_a_bit_is_another_and_a_refusal_is_its_status() -> None:
    assert wrong(b"[1.5]", 200, b"[1.5]") is None
    assert wrong(b"[1.5]", 200, b"[1.5000000000000002]") == ANOTHER
    assert wrong(b"[1.5]", 503, b"[1.5]") == "503"
