"""Where side-by-side benchmarks stand: the servers they compare, and the same rows asked of each, with the right answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from client.openloop import Shot
from load_tests.bench import questions, servers
from load_tests.bench.line import Line
from load_tests.bench.plan import Plan
from load_tests.bench.processes import Roles, Used, per_thousand
from load_tests.bench.questions import Question, Row
from load_tests.bench.wrk import Load, Ran
from shared.frames import join
from shared.wire import pack_frame

RF = "boston-rf"
ANOTHER = "another answer"
_WARM_UP_S = 2


@dataclass(frozen=True)
class Asked:
    """A server with what is asked of it."""

    name: str
    url: str
    question: Question
    load: Load
    roles: Roles

    def run(self, connections: int, seconds: float) -> tuple[Ran, dict[str, float]]:
        """Closed loop; and CPU seconds per thousand requests by role, the generator's among them."""
        before = Used.now(self.roles)
        ran = self.load.run(connections, seconds)
        used = Used.now(self.roles).since(before) | {"wrk": ran.cpu_s}
        return ran, per_thousand(used, ran.requests)


@dataclass(frozen=True)
class Ground:
    """Servers of one model and the batches of rows that all are asked."""

    gate: servers.Scoregate
    model: str
    batches: Sequence[Sequence[Row]]
    answers: Sequence[Sequence[float]]
    folder: Path

    def ours(self) -> Asked:
        """scoregate, through `/v1`."""
        question = questions.scoring(self.model, self.gate.headers, self.batches, self.answers)
        load = Load.of(self.gate.url, question, self.folder)
        return Asked("scoregate", self.gate.url, question, load, self.gate.roles)

    def other(self, name: str, other: servers.Other, **headers: str) -> Asked:
        """HAProxy or Plumber, with the same rows and token."""
        with Line(other.url) as line:
            question = questions.plain(self.gate.headers, self.batches, self.answers, line)
        question = replace(question, headers={**question.headers, **headers})
        return Asked(name, other.url, question, Load.of(other.url, question, self.folder), other.roles)

    def through(self, name: str, other: servers.Other) -> Asked:
        """Another gateway before the same scorer, asked the same; scorer, workers and Redis are those of the stack."""
        question = self.ours().question
        roles = self.gate.roles

        def both() -> dict[str, Sequence[int]]:
            return {**roles(), **other.roles()}

        return Asked(name, other.url, question, Load.of(other.url, question, self.folder), both)

    def shots(self, headers: dict[str, str] | None = None) -> list[Shot]:
        """The same for the open-loop generator; what is wrong is the status, or that the answer is another."""
        question = questions.scoring(self.model, self.gate.headers, self.batches, self.answers)
        return [
            Shot(question.path, body, partial(wrong, answer), {**question.headers, **(headers or {})})
            for body, answer in question.pairs
        ]

    def straight(self) -> list[Shot]:
        """The same for a worker's own socket."""
        signature = self.gate.store.signature(self.model)
        found = []
        for rows, values in zip(self.batches, self.answers, strict=True):
            _, _, body = questions.worker_request(signature, rows).partition(b"\r\n\r\n")
            answer = join(pack_frame(signature.outputs, [values]))
            found.append(Shot("/predict", body, partial(wrong, answer), {"X-Rows": str(len(rows))}))
        return found

    def nothing(self, other: servers.Other) -> Asked:
        """The bare Starlette, which is sent the same requests and has one answer for all."""
        ours = self.ours().question
        question = Question(ours.path, ours.headers, [(body, b'{"predictions":[0.0]}') for body, _ in ours.pairs])
        return Asked("starlette", other.url, question, Load.of(other.url, question, self.folder), other.roles)


def wrong(answer: bytes, status: int, body: bytes) -> str | None:
    """None for the right answer; "another answer", or the status."""
    if status != 200:
        return str(status)
    return None if body == answer else ANOTHER


def ground(gate: servers.Scoregate, model: str, rows: int, count: int, folder: Path) -> Ground:
    """`count` requests of `rows` rows with R's answers to them, had from a worker alone."""
    manifest = gate.store.manifest(model)
    batches = questions.batches(manifest["signature"]["inputs"], rows, count)
    answers = questions.right_answers(gate.worker_socket(model), gate.store.signature(model), batches)
    return Ground(gate, model, batches, answers, folder)


@contextmanager
def beside_haproxy(plan: Plan, rows: int = 1, count: int = 64, model: str = RF) -> Iterator[tuple[Ground, list[Asked]]]:
    """scoregate, and HAProxy over as many plain Plumber processes as scoregate has workers."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = servers.store()
        gate = stack.enter_context(servers.scoregate(models, workers=plan.workers))
        behind = stack.enter_context(servers.plumber(models, model, plan.workers, folder))
        proxy = stack.enter_context(servers.haproxy(behind, gate.entra_key(), folder))
        place = ground(gate, model, rows, count, folder)
        yield place, [place.ours(), place.other("haproxy", proxy)]


def in_turns(
    ways: Sequence[Asked], connections: int, seconds: float, rounds: int
) -> dict[str, list[tuple[Ran, dict[str, float]]]]:
    """By way, what it did in each round. In each all have their turn, so that what the machine does meanwhile meets them alike.

    Before the first, all are warmed up.
    """
    for way in ways:
        way.run(connections, _WARM_UP_S)
    runs: dict[str, list[tuple[Ran, dict[str, float]]]] = {way.name: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            servers.say(f"round {number + 1} of {rounds}: {way.name}, {connections} connections, {seconds:g} s")
            runs[way.name].append(way.run(connections, seconds))
    return runs


def figures(ran: Ran) -> dict[str, Any]:
    """Of one run, for a table."""
    return {"per s": ran.per_s, "p50 ms": ran.p50_ms, "p90 ms": ran.p90_ms, "p99 ms": ran.p99_ms}
