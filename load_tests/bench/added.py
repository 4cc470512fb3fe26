"""What the gateway adds to one caller who is alone: against a call straight to a worker's socket, and against HAProxy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from client.openloop import percentile
from load_tests.bench import questions
from load_tests.bench.figures import median_difference
from load_tests.bench.ground import RF, Asked, Ground, beside_haproxy
from load_tests.bench.line import Heard, Line
from load_tests.bench.plan import Plan
from load_tests.bench.report import Result
from load_tests.bench.servers import say
from load_tests.bench.verdicts import at_most, none_wrong

REQUESTS = 300
_PACED = "worker, paced"
Wrong = Callable[[int, Heard], bool]


def added(plan: Plan) -> Result:
    """p50 of one connection: over a direct call by at most 1.2 ms (median of pair differences), and no worse than HAProxy's.

    *paced* is the direct call asked no more often than scoregate answers: what R takes longer for having been idle is in it.
    """
    rounds = plan.rounds_or(5, 9)
    taken: dict[str, list[list[float]]] = {"scoregate": [], "worker": [], _PACED: [], "haproxy": []}
    wrong = asked = 0
    with beside_haproxy(plan) as (place, both):
        ways = {way.name: (way.url, *_through(way)) for way in both}
        ways["worker"] = ways[_PACED] = (place.gate.worker_socket(RF), *_straight(place))
        for number in range(rounds + 1):  # the first one warms up
            say(f"round {number} of {rounds}: {REQUESTS} requests each way, one after the other")
            for name, blocks in taken.items():
                address, requests, is_wrong = ways[name]
                usual = 0.0 if name != _PACED or not taken["scoregate"] else percentile(taken["scoregate"][-1], 50)
                times, bad = _block(address, requests, is_wrong, usual)
                if number:
                    blocks.append(times)
                if name == "scoregate":
                    wrong, asked = wrong + bad, asked + len(times)
    p50 = {name: [1000 * percentile(block, 50) for block in blocks] for name, blocks in taken.items()}
    return Result(
        "added",
        [
            (
                f"one connection, one row, {rounds} rounds of {REQUESTS}, ms",
                [
                    {
                        "": name,
                        "p50": statistics.median(p50[name]),
                        "p99": statistics.median(1000 * percentile(block, 99) for block in blocks),
                        "p50 of each round": " ".join(f"{value:.2f}" for value in p50[name]),
                    }
                    for name, blocks in taken.items()
                ],
            )
        ],
        [
            at_most(
                "added to a call straight to the worker, p50",
                median_difference(zip(p50["scoregate"], p50["worker"], strict=True)), 1.2, " ms",
            ),
            at_most(
                "p50 over HAProxy's",
                median_difference(zip(p50["scoregate"], p50["haproxy"], strict=True)), 0, " ms",
            ),
            none_wrong(wrong, asked),
        ],
    )  # fmt: skip


def _through(way: Asked) -> tuple[list[bytes], Wrong]:
    pairs = way.question.pairs
    return [way.question.raw(n) for n in range(len(pairs))], lambda n, heard: heard.body != pairs[n][1]


def _straight(place: Ground) -> tuple[list[bytes], Wrong]:
    signature = place.gate.store.signature(place.model)
    return [questions.worker_request(signature, rows) for rows in place.batches], lambda _, heard: heard.status != 200


def _block(address: str, requests: Sequence[bytes], is_wrong: Wrong, every_s: float = 0.0) -> tuple[list[float], int]:
    """Seconds of each of the requests, which leave `every_s` or as soon as the last was answered; how many answers were wrong."""
    times, wrong = [], 0
    with Line(address) as line:
        for n in range(REQUESTS):
            which = n % len(requests)
            heard = line.ask(requests[which])
            times.append(heard.seconds)
            time.sleep(max(0.0, every_s - heard.seconds))
            wrong += heard.status != 200 or is_wrong(which, heard)
    return times, wrong
