"""One bad row among the rows of 64 callers that R gets in one call: 63 right answers, and one clear refusal."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from client.openloop import Shot
from tests.stack import chaos
from tests.stack.stack import Stack
from tests.support import eventually

CALLERS = 64
POISONED = 37


@pytest.fixture(scope="module")
def one_worker(hostile_store: str) -> Iterator[Stack]:
    """One worker, so that what comes while it is busy goes together."""
    options = ("--store", hostile_store, "--scorer-workers", "1", "--rate", "1000000/minute")
    running = Stack.up(*options, **chaos.SETTINGS)
    yield running
    running.close()


def said(status: int, body: bytes) -> str:
    """Any answer as text, for the test to judge."""
    answer = json.loads(body)
    return f"{status} {answer.get('code') or answer.get('predictions')}: {answer.get('detail', '')}"


async def together(stack: Stack, model: str, bodies: list[dict[str, Any]]) -> list[str]:
    """What each of these callers is answered, whose rows went to R in one run."""
    nap = Shot("/v1/models/misbehaves/score", json.dumps({"rows": [{"x": 1, "act": "nap"}]}).encode(), said)
    many = chaos.metric(stack, "scorer_run_items_bucket", le="32.0")
    runs = chaos.metric(stack, "scorer_run_items_count")
    async with chaos.gun(stack) as gun:
        # The worker naps, and so many calls are away that the gateway gathers all that follow.
        holding = [asyncio.create_task(gun.pull(nap)) for _ in range(4)]
        await asyncio.to_thread(lambda: eventually(lambda: chaos.inside(stack)["busy"] == 1, what="the worker is busy"))
        answers = await asyncio.gather(*(gun.pull(Shot(f"/v1/models/{model}/score", body_of(b), said)) for b in bodies))
        assert [text and text.partition(":")[0] for text in await asyncio.gather(*holding)] == ["200 [2.0]"] * 4
    large = chaos.metric(stack, "scorer_run_items_count") - runs
    large -= chaos.metric(stack, "scorer_run_items_bucket", le="32.0") - many
    assert large >= 1, "the callers' rows went together"
    return [str(answer) for answer in answers]


def body_of(row: dict[str, Any]) -> bytes:
    return json.dumps({"rows": [row]}).encode()


def right_but_one(answers: list[str], expected: list[float]) -> str:
    """The answer of the poisoned call; all others have their own."""
    others = [text for number, text in enumerate(answers) if number != POISONED]
    own = [f"200 [{value!r}]: " for number, value in enumerate(expected) if number != POISONED]
    assert others == own
    return answers[POISONED]


@pytest.mark.parametrize(
    ("act", "refusal"),
    [
        ("error", "422 prediction_failed: this row is poisoned"),
        ("signal", "500 worker_crashed: R crashed while it scored these rows, and again"),
        ("segfault", "500 worker_crashed: R crashed while it scored these rows, and again"),
    ],
)
async def test_a_poisoned_row_among_64_callers_costs_only_its_own_caller(
    one_worker: Stack, act: str, refusal: str
) -> None:
    rows = [{"x": number + 0.1, "act": act if number == POISONED else "none"} for number in range(CALLERS)]
    answers = await together(one_worker, "misbehaves", rows)
    assert right_but_one(answers, [2 * (number + 0.1) for number in range(CALLERS)]).startswith(refusal)


async def test_a_missing_value_among_64_callers_of_a_class_that_drops_such_rows_moves_no_answer(
    one_worker: Stack,
) -> None:
    manifest, _ = one_worker.published("drops-missing")
    assert {column["missing"] for column in manifest["signature"]["inputs"]} == {"drop"}
    example, answers = manifest["example"]["inputs"], manifest["example"]["outputs"]["prediction"]
    known = [
        ({name: values[i] for name, values in example.items()}, answer)
        for i, answer in enumerate(answers)
        if answer is not None
    ]
    rows = [dict(known[number % len(known)][0]) for number in range(CALLERS)]
    expected = [known[number % len(known)][1] for number in range(CALLERS)]
    rows[POISONED]["rm"] = None
    got = await together(one_worker, "drops-missing", rows)
    assert right_but_one(got, expected) == "200 [None]: "


async def test_64_callers_with_a_row_each_that_fails_are_each_told_so(one_worker: Stack) -> None:
    rows = [{"x": 1.0, "act": "error"} for _ in range(CALLERS)]
    answers = await together(one_worker, "misbehaves", rows)
    assert Counter(answers) == {"422 prediction_failed: this row is poisoned": CALLERS}
