"""What a model store has, as a pod sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scorer.core.calls import Key
from shared.catalogue import Promotion


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest in the store. `tag` changes when it does."""

    model: str
    version: str
    tag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What the store has: versions that are not retracted, those that are, and what was promoted, by model."""

    found: list[Found]
    retracted: frozenset[Key] = frozenset()
    promoted: Mapping[str, Promotion] = field(default_factory=dict)
