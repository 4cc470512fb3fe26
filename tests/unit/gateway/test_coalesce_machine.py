"""Coalescing, merging and splitting as one machine: whatever comes in which order, everyone gets its own rows or its own error.

The scorer here doubles every number and says which rows it was given; items fail, batches are lost, callers leave, deadlines pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.coalesce import Batch, Coalescer, Item, Place
from shared.errors import OverloadedError
from shared.messages import ItemError, decode_request, decode_response, encode_request, encode_response
from shared.signature import Field, Type
from shared.wire import Frame, merge, pack_frame, split, tensor_specs, unpack_frame
from tests.unit.gateway.test_coalesce import waiting_items

FIELDS = (Field(name="x", type=Type.DOUBLE), Field(name="who", type=Type.STRING, nullable=True))
SPECS = tensor_specs(FIELDS)
MODELS, CALLERS = ("a", "b"), ("ann", "bob", "cid")
SLOTS, BATCH_ROWS, ROOM = 3, 6, 60


@dataclass
class Ask:
    """One caller's rows, and what came of them."""

    numbers: list[float]
    texts: list[str | None]
    answers: int = 0
    gone: bool = False

    def right(self, frame: Frame) -> bool:
        numbers, texts = unpack_frame(FIELDS, frame)
        return numbers == [2 * n for n in self.numbers] and texts == self.texts


def scored(batch: Batch[Ask], failing: set[int]) -> list[Frame | ItemError]:
    """Over the wire, through a scorer in which these items fail, and back: one outcome per item."""
    sizes = [item.frame.rows for item in batch.items]
    head, body = encode_request(SPECS, merge([item.frame for item in batch.items]), sizes)
    frame, items = decode_request(SPECS, body, head)
    numbers, texts = unpack_frame(FIELDS, frame)
    ends = list(accumulate(items, initial=0))
    kept = [row for n, (a, b) in enumerate(pairwise(ends)) if n not in failing for row in range(a, b)]
    answer = pack_frame(FIELDS, [[2 * numbers[r] for r in kept], [texts[r] for r in kept]])  # type: ignore[operator]
    errors = [ItemError(n, "prediction_failed", f"item {n}") for n in sorted(failing) if n < len(items)]
    left = [0 if n in failing else size for n, size in enumerate(items)]
    head, body = encode_response("m", "1", SPECS, answer, left, errors)
    back = decode_response(SPECS, body, head)
    by_item = {error.item: error for error in back.errors}
    parts = split(SPECS, back.frame, back.items)
    return [by_item.get(n, part) for n, part in enumerate(parts)]


class Machine(RuleBasedStateMachine):
    """Nothing is lost, nothing is answered twice, nothing goes to another, and a free slot never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.coalescer: Coalescer[Ask] = Coalescer(SLOTS, BATCH_ROWS, ROOM)
        self.items: list[Item[Ask]] = []
        self.away: list[Batch[Ask]] = []
        self.now = 0.0

    def left(self, batches: list[Batch[Ask]]) -> None:
        for batch in batches:
            assert len({item.place.lane for item in batch.items}) == 1
            assert batch.rows <= BATCH_ROWS or len(batch.items) == 1
            assert len(batch.items) == 1 or not any(item.alone for item in batch.items)
            assert all(not item.waiting and item.deadline_s > self.now for item in batch.items)
        self.away += batches

    @rule(
        model=st.sampled_from(MODELS),
        caller=st.sampled_from(CALLERS),
        own=st.booleans(),
        alone=st.booleans(),
        rows=st.lists(st.tuples(st.floats(-9, 9), st.sampled_from([None, "", "ü", "x" * 5])), min_size=1, max_size=8),
        lasts=st.sampled_from([0.5, 3.0, 1000.0]),
    )
    def offer(
        self, model: str, caller: str, own: bool, alone: bool, rows: list[tuple[float, str | None]], lasts: float
    ) -> None:
        ask = Ask([n for n, _ in rows], [t for _, t in rows])
        lane = (model, caller) if own else (model,)
        frame = pack_frame(FIELDS, [ask.numbers, ask.texts])
        item = Item(Place(lane, model, caller, alone), frame, self.now + lasts, ask)
        before = self.coalescer.waiting_rows
        refused: OverloadedError | None = None
        try:
            self.coalescer.offer(item, self.now)
            self.left(self.coalescer.depart(self.now))
        except OverloadedError as error:
            refused = error
        if refused is not None:
            assert refused.retry_after_ms is not None
            assert refused.retry_after_ms >= 50
            assert self.coalescer.waiting_rows == before
            assert not item.waiting
            return
        self.items.append(item)

    @precondition(lambda self: self.away)
    @rule(which=st.integers(0, 9), failing=st.sets(st.integers(0, 5)))
    def come_back(self, which: int, failing: set[int]) -> None:
        batch = self.away.pop(which % len(self.away))
        for item, outcome in zip(batch.items, scored(batch, failing), strict=True):
            item.reply.answers += 1
            assert isinstance(outcome, ItemError) or item.reply.right(outcome)
        self.left(self.coalescer.finish(batch, self.now))

    @precondition(lambda self: self.away)
    @rule(which=st.integers(0, 9), retry=st.booleans())
    def lose(self, which: int, retry: bool) -> None:
        batch = self.away.pop(which % len(self.away))
        again = [item for item in batch.items if retry and not item.lost_pods and not item.reply.gone]
        for item in batch.items:
            item.lost_pods |= {"pod"}
            item.reply.answers += item not in again
        for item in again:
            item.alone = True
        if again:
            self.left(self.coalescer.again(again, self.now))
        self.left(self.coalescer.finish(batch, self.now, answered=False))

    @precondition(lambda self: self.items)
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        item = self.items[which % len(self.items)]
        was_waiting = item.waiting
        assert self.coalescer.withdraw(item) == was_waiting
        item.reply.gone = True

    @rule(seconds=st.sampled_from([0.01, 1.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.left(self.coalescer.tick(self.now))

    @invariant()
    def counts_hold(self) -> None:
        waiting = [item for item in self.items if item.waiting]
        assert waiting_items(self.coalescer) == len(waiting)
        assert self.coalescer.waiting_rows == sum(item.frame.rows for item in waiting)
        assert self.coalescer.away == sum(not batch.overdue for batch in self.away)
        for model in MODELS:
            assert sum(batch.overdue and batch.group == model for batch in self.away) <= SLOTS
        assert self.coalescer.waiting_rows <= ROOM + 8 * SLOTS  # what was lost comes back on top

    @invariant()
    def nobody_is_answered_twice_and_nothing_is_in_two_places(self) -> None:
        away = [item for batch in self.away for item in batch.items]
        assert len({id(item) for item in away}) == len(away)
        for item in self.items:
            assert item.reply.answers + item.waiting + any(item is other for other in away) <= 1

    @invariant()
    def a_slot_is_free_only_if_nothing_waits_for_it(self) -> None:
        waiting = {item.place.group for item in self.items if item.waiting}
        busy = {batch.group for batch in self.away}
        assert waiting <= busy
        assert not waiting or len(self.away) >= SLOTS

    def teardown(self) -> None:
        """All that is away comes back: nobody is left without an answer, and nothing is left behind."""
        while self.away:
            self.come_back(0, set())
        assert (waiting_items(self.coalescer), self.coalescer.waiting_rows, self.coalescer.away) == (0, 0, 0)
        for item in self.items:
            late = item.deadline_s <= self.now
            assert item.reply.answers == 1 or item.reply.gone or late


TestCoalescing = Machine.TestCase
TestCoalescing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
