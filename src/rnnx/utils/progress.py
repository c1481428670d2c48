"""A line that says how far a loop of one's own is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np


class Progbar:
    """How far a loop is, and figures that go with it; on a terminal in one line, else only at the end.

    Parameters
    ----------
    target : int or None
        Steps there will be.
    width : int
        Characters of the bar.
    verbose : {0, 1, 2}
        0 says nothing, 2 only the end.
    interval : float
        Seconds between two changes of the line.
    stateful_metrics, stateless_metrics : list of str, optional
        Figures that are shown as they are, the others as their mean over the steps; or the other way round.
    unit_name : str

    Examples
    --------
    >>> from rnnx.utils import Progbar
    >>> bar = Progbar(2, verbose=0)
    >>> for step in range(2):
    ...     bar.update(step + 1, [("loss", 1.0 / (step + 1))])
    >>> bar.figures()
    {'loss': 0.5}
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("Progbar: give `stateful_metrics` or `stateless_metrics`, not both")
        self.target, self.width, self.verbose, self.interval = target, width, verbose, interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        self._sums: dict[str, list[float]] = {}
        self._seen, self._start, self._shown, self._width = 0, time.perf_counter(), 0.0, 0

    def _is_averaged(self, name: str) -> bool:
        if self.stateless_metrics is not None:
            return name in self.stateless_metrics
        return name not in self.stateful_metrics

    def figures(self) -> dict[str, float]:
        """What is shown of each figure."""
        return {name: total / max(1.0, count) for name, (total, count) in self._sums.items()}

    def update(self, current: int, values: Any = None, finalize: bool | None = None) -> None:
        """Say that so many steps are done.

        Parameters
        ----------
        current : int
        values : list of (name, value), optional
            Of the steps since the last update.
        finalize : bool, optional
            Whether this is the end; by default when the target is reached.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        steps = max(current - self._seen, 1)
        for name, value in values or []:
            number = float(np.mean(value))
            if finalize or not self._is_averaged(name):  # at the end the last value, as in Keras
                self._sums[name] = [number, 1]
            else:
                total, count = self._sums.get(name, [0.0, 0])
                self._sums[name] = [total + number * steps, count + steps]
        self._seen = current
        now = time.perf_counter()
        terminal = sys.stdout.isatty()
        if (
            self.verbose == 0
            or not finalize
            and (self.verbose == 2 or not terminal or now - self._shown < self.interval)
        ):
            return
        self._shown = now
        line = self._line(current, now - self._start)
        blank = " " * max(0, self._width - len(line))
        self._width = len(line)
        print(("\r" if terminal else "") + line + blank, end="\n" if finalize else "", flush=True)

    def _line(self, current: int, seconds: float) -> str:
        bar = f"{current}/unknown"
        if self.target:
            done = min(self.width, self.width * current // self.target)
            bar = f"{current}/{self.target} [{'=' * done}{'.' * (self.width - done)}]"
        each = f"{1e3 * seconds / max(1, current):.0f} ms/{self.unit_name}"
        shown = "".join(f" - {name}: {value:.4g}" for name, value in self.figures().items())
        return f"{bar} {seconds:.0f} s {each}{shown}"

    def add(self, n: int, values: Any = None) -> None:
        """Say that so many more steps are done."""
        self.update(self._seen + n, values)
