"""What gateways ask and what workers are given: a call, its portions, and the run that portions go together in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.messages import ItemError
from shared.wire import Frame, merge

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Call:
    """One request of a gateway: items of one version, answered together, by `deadline_s` at the latest."""

    key: Key
    frame: Frame
    items: Sequence[int]
    deadline_s: float
    arrived_s: float = 0.0
    share: str = ""  # with which others it may share a run (`shared.messages.SHARE_HEADER`)
    tag: object = None  # the shell's own: whom to answer
    open: bool = True
    started_s: float | None = None  # when its first run left
    waiting_rows: int = 0
    frames: dict[int, tuple[int, Frame]] = field(default_factory=dict)  # first item -> (how many, their rows)
    errors: dict[int, ItemError] = field(default_factory=dict)
    parts: dict[int, dict[int, Frame]] = field(default_factory=dict)  # item that was cut -> first row -> its answer

    @property
    def missing(self) -> int:
        """Items without an answer yet."""
        return len(self.items) - sum(count for count, _ in self.frames.values()) - len(self.errors)

    def add(self, portion: Portion, frame: Frame) -> None:
        """The answer to a portion. A piece waits for the item's others."""
        if portion.start is None:
            self.frames[portion.first] = (portion.count, frame)
            return
        parts = self.parts.setdefault(portion.first, {})
        parts[portion.start] = frame
        if sum(part.rows for part in parts.values()) == self.items[portion.first]:
            self.frames[portion.first] = (1, merge([part for _, part in sorted(parts.items())]))
            del self.parts[portion.first]


@dataclass(slots=True, eq=False)
class Portion:
    """Items `first` to `first + count` of a call, and their rows; or a piece of one item, from its row `start` on."""

    call: Call
    first: int
    count: int
    frame: Frame
    kills: int = 0
    killed_alone: bool = False  # one of those was in a run of its own
    start: int | None = None


@dataclass(slots=True, eq=False)
class Run:
    """What one worker predicts in one go."""

    key: Key
    portions: tuple[Portion, ...]
    frame: Frame
    started_s: float
    large: bool = False  # of a call that was cut
    begun: bool = False  # not only sent
    twice: bool = False  # sent ahead, and waits for others as well

    @property
    def items(self) -> int:
        """How many items it holds."""
        return sum(portion.count for portion in self.portions)


@dataclass(frozen=True, slots=True)
class Failure:
    """The worker's answer where it is not rows: R's message, for callers only if the run had one item."""

    code: str
    message: str
