"""The pool under any sequence of events that hypothesis thinks of."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scorer.core.calls import Call, Failure, Key
from scorer.core.effects import Cause
from shared.errors import (
    OverloadedError,
    VersionDownError,
)
from shared.messages import ALONE
from tests.unit.scorer.pool_pod import A, B, Pod, frame, values


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, in whatever order: each call is answered exactly once, with its own rows."""

    @initialize(slots=st.integers(1, 4), batchable=st.booleans(), max_run_rows=st.integers(1, 12))
    def begin(self, slots: int, batchable: bool, max_run_rows: int) -> None:
        self.pod = Pod(slots, batchable=batchable, keys=(A, B), max_run_rows=max_run_rows)
        for line in self.pod.pool.lines.values():
            for _ in range(6):
                line.cost.learn(1, 0.003)  # known, so that runs are sent ahead
        self.calls: dict[Call, list[float]] = {}
        self.left: set[Call] = set()
        self.next_value = 0.0

    @rule(
        items=st.lists(st.integers(1, 4), min_size=1, max_size=5),
        key=st.sampled_from([A, B]),
        share=st.sampled_from(["", "", "ann", "bob", ALONE]),
    )
    def submit(self, items: list[int], key: Key, share: str) -> None:
        rows = [self.next_value + i for i in range(sum(items))]
        self.next_value += len(rows)
        try:
            call = self.pod.call(*rows, items=items, key=key, within_s=1e6, share=share)
        except (OverloadedError, VersionDownError):
            return
        self.calls[call] = rows

    @rule()
    def start(self) -> None:
        self.pod.start()

    @precondition(lambda self: self.pod.running)
    @rule(data=st.data(), what=st.sampled_from(["answer", "error", "die", "hang", "short"]))
    def end_a_run(self, data: st.DataObject, what: str) -> None:
        worker = data.draw(st.sampled_from(sorted(self.pod.running)))
        self.pod.now += 0.01
        match what:
            case "answer":
                self.pod.finish(worker)
            case "error":
                self.pod.finish(worker, Failure("prediction_failed", "no"))
            case "short":
                self.pod.finish(worker, frame())
            case "die":
                self.pod.die(worker)
            case "hang":
                self.pod.do(self.pod.pool.end_worker(worker, Cause.HUNG, self.pod.now))
                self.pod.die(worker)

    @precondition(lambda self: self.pod.ahead)
    @rule(data=st.data(), fails=st.booleans())
    def end_the_second_first(self, data: st.DataObject, fails: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.pod.ahead)))
        run = self.pod.ahead.pop(worker)
        self.pod.now += 0.01
        result = Failure("prediction_failed", "no") if fails else run.frame
        self.pod.do(self.pod.pool.run_done(worker, run, result, self.pod.now))

    @precondition(lambda self: self.pod.pool.workers)
    @rule(data=st.data())
    def lose_any_worker(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.pod.pool.workers)))
        if worker in self.pod.starting:
            self.pod.starting.remove(worker)
        self.pod.die(worker)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), leave=st.booleans())
    def stop_waiting(self, data: st.DataObject, leave: bool) -> None:
        call = data.draw(st.sampled_from(list(self.calls)))
        if not call.open:
            return
        if leave:
            self.left.add(call)
            self.pod.do(self.pod.pool.leave(call, self.pod.now))
        else:
            self.pod.do(self.pod.pool.expire(call, self.pod.now))

    @rule(seconds=st.sampled_from([0.1, 1.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.pod.now += seconds
        self.pod.do(self.pod.pool.tick(self.pod.now))

    @invariant()
    def busy_within_slots(self) -> None:
        if hasattr(self, "pod"):
            pool = self.pod.pool
            for key in (A, B):  # runs that take far too long hold no slot, as many of a version as there are
                assert sum(w.run is not None for w in pool.workers.values() if w.key == key) <= 2 * pool.limits.slots
            assert pool.waiting_rows >= 0
            for run in self.pod.running.values():
                shares = {portion.call.share for portion in run.portions}
                assert len(shares) == 1
                assert ALONE not in shares or run.items == 1
            for line in pool.lines.values():
                assert line.waiting_rows == sum(c.waiting_rows for c in self.calls if c.open and c.key == line.key)

    def teardown(self) -> None:
        if not hasattr(self, "pod"):
            return
        self.pod.settle()
        answered = [answer.call for answer in self.pod.answers]
        assert len(answered) == len(set(answered)), "nobody is answered twice"
        assert set(answered) | self.left == set(self.calls)
        assert self.pod.pool.waiting_rows == 0
        for answer in self.pod.answers:
            if answer.refused is not None:
                continue
            rows, kept = self.calls[answer.call], []
            failed = {error.item for error in answer.errors}
            for index, size in enumerate(answer.call.items):
                own, rows = rows[:size], rows[size:]
                kept += [] if index in failed else own
                assert answer.sizes[index] == (0 if index in failed else size)
            assert answer.frame is not None
            assert values(answer.frame) == kept


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
