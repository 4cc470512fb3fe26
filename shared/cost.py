"""What a prediction of n rows costs a worker: a fixed and a per-row part, learned from recent runs. Pure.

A weighted least-squares line over (rows, seconds) whose old runs fade; until it has seen enough it says what packaging measured.
"""

from __future__ import annotations

from dataclasses import dataclass

_FADE = 0.98  # a run counts half after about 34 others
_ENOUGH = 5.0
_SPREAD = 0.01  # of the sizes' square: below, they are as good as one size


@dataclass(slots=True)
class Cost:
    """Seconds for a run of n rows. `fixed_s` and `row_s` start as the manifest's figures, or a guess where it has none."""

    fixed_s: float = 0.003
    row_s: float = 0.00001
    _n: float = 0.0
    _x: float = 0.0
    _y: float = 0.0
    _xx: float = 0.0
    _xy: float = 0.0

    def learn(self, rows: int, took_s: float) -> None:
        """One finished run."""
        n = self._n = self._n * _FADE + 1
        x = self._x = self._x * _FADE + rows
        y = self._y = self._y * _FADE + took_s
        xx = self._xx = self._xx * _FADE + rows * rows
        xy = self._xy = self._xy * _FADE + rows * took_s
        if n < _ENOUGH:
            return
        spread = n * xx - x * x
        if spread <= _SPREAD * n * xx and (known_s := n * self.fixed_s + x * self.row_s):
            # All of one size, as the pieces of a large call are: no slope can be read from them, only how much of both.
            self.fixed_s *= y / known_s
            self.row_s *= y / known_s
            return
        if spread > _SPREAD * n * xx:
            self.row_s = max(0.0, (n * xy - x * y) / spread)
        self.fixed_s = max(0.0, (y - self.row_s * x) / n)
        if self.fixed_s == 0.0 and x:
            self.row_s = y / x

    @property
    def learned(self) -> bool:
        """Whether it speaks from runs that were seen."""
        return self._n >= _ENOUGH

    @property
    def recent_s(self) -> float:
        """What recent runs took on average; 0 until one was seen."""
        return self._y / self._n if self._n else 0.0

    def predict_s(self, rows: int, runs: int = 1) -> float:
        """Seconds of one worker for `rows` rows in `runs` runs."""
        return self.fixed_s * runs + self.row_s * rows
