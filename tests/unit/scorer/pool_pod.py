"""A pool to test: workers that start and answer when told, a clock that stands still, a model that echoes its rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from scorer.core.calls import Call, Failure, Key, Run
from scorer.core.effects import Answer, Effect, End, Fork, Measure, Send, Yield
from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.core.upkeep import UpkeepLimits
from shared.cost import Cost
from shared.signature import Field, Signature, Type
from shared.wire import Frame

ECHO = Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.DOUBLE),))

A: Key = ("a", "1")

B: Key = ("b", "1")


def frame(*values: float) -> Frame:
    return Frame(len(values), (array("d", values).tobytes(),))


def values(of: Frame) -> list[float]:
    return list(array("d", b"".join(of.buffers)))


class Pod:
    """A pool with workers that start when told and answer when told; a model that echoes its rows."""

    def __init__(
        self, slots: int = 2, *, batchable: bool = True, keys: tuple[Key, ...] = (A,), **limits: float | UpkeepLimits
    ) -> None:
        self.pool = Pool(PoolLimits(slots, **limits))  # type: ignore[arg-type]
        self.now = 100.0
        self.starting: list[int] = []
        self.running: dict[int, Run] = {}
        self.ahead: dict[int, Run] = {}
        self.ended: list[int] = []
        self.answers: list[Answer] = []
        self.yielded: list[int] = []
        self.private: dict[int, float] = {}  # worker -> bytes of its own
        for key in keys:
            self.do(self.pool.add_version(key, ECHO, batchable=batchable, cost=Cost(), now=self.now))

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Fork():
                    self.starting.append(effect.worker)
                case Send(ahead=True):
                    assert effect.worker in self.running
                    assert effect.worker not in self.ahead
                    self.ahead[effect.worker] = effect.run
                case Send():
                    assert effect.worker not in self.running
                    self.running[effect.worker] = effect.run
                case End():
                    self.ended.append(effect.worker)
                case Measure():
                    private = self.private.get(effect.worker, 0.0)
                    self.do(self.pool.measured(effect.worker, private, self.now))
                case Yield():
                    self.yielded.append(effect.worker)
                case Answer():
                    self.answers.append(effect)

    def start(self) -> None:
        """Every worker that was ordered comes to listen."""
        while self.starting:
            self.do(self.pool.worker_ready(self.starting.pop(0), self.now))

    def call(
        self, *rows: float, items: list[int] | None = None, key: Key = A, within_s: float = 10.0, share: str = ""
    ) -> Call:
        call = Call(key, frame(*rows), items or [len(rows)], self.now + within_s, share=share)
        self.do(self.pool.submit(call, self.now))
        return call

    def finish(self, worker: int, result: Frame | Failure | None = None) -> None:
        run = self.running.pop(worker)
        if (after := self.ahead.pop(worker, None)) is not None:
            self.running[worker] = after
        self.do(self.pool.run_done(worker, run, run.frame if result is None else result, self.now))

    def die(self, worker: int) -> None:
        self.running.pop(worker, None)
        self.ahead.pop(worker, None)
        self.do(self.pool.worker_gone(worker, self.now))

    def settle(self, predict: Callable[[Run], Frame | Failure | None] | None = None) -> None:
        """Run until nothing runs. `predict` returns the answer; None kills the worker."""
        predict = predict or (lambda run: run.frame)
        for _ in range(1000):
            self.now += 0.001
            self.do(self.pool.tick(self.now))
            for worker in self.ended[:]:
                self.ended.remove(worker)
                self.die(worker)
            self.start()
            if not self.running:
                if not self.pool.open_calls:
                    return
                self.now += 1  # a fork was put off
                continue
            worker = next(iter(self.running))
            result = predict(self.running[worker])
            if result is None:
                self.die(worker)
            else:
                self.finish(worker, result)
        raise AssertionError("it does not settle")
