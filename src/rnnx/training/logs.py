"""What callbacks are given after a batch: losses, and metrics that are computed when somebody reads them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np


class RunningLogs(dict[str, Any]):
    """Losses and metrics so far, as a dict; a metric is asked for its result by the first who reads it.

    Parameters
    ----------
    known : dict of float
    metrics : dict of Metric
        By their names in the logs.

    Notes
    -----
    What is read is what the metrics say then: whoever changes them calls `settle` first, if this is still there.
    """

    def __init__(self, known: dict[str, float], metrics: dict[str, Any]):
        super().__init__(known)
        self._open = metrics
        for name in metrics:
            super().__setitem__(name, None)  # its place in the order

    def settle(self) -> None:
        """Ask all metrics that nobody has read yet."""
        for name in list(self._open):
            self[name]

    def __getitem__(self, name: str) -> Any:
        if name in self._open:
            self[name] = figure(self._open[name].result())
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._open.pop(name, None)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        self._open.pop(name, None)
        super().__delitem__(name)

    def __iter__(self) -> Iterator[str]:  # one of its own, so that dict(logs) and f(**logs) ask `__getitem__`
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default

    def items(self) -> Any:
        self.settle()
        return super().items()

    def values(self) -> Any:
        self.settle()
        return super().values()

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def pop(self, name: str, *default: Any) -> Any:
        self.get(name)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        self.settle()
        return super().popitem()

    def setdefault(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else super().setdefault(name, default)

    def update(self, *others: Any, **values: Any) -> None:
        for name, value in dict(*others, **values).items():
            self[name] = value

    def clear(self) -> None:
        self._open.clear()
        super().clear()

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return dict(other) | dict(self)

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class LogsInUse:
    """The logs that were given out last, as long as somebody has them; copies of a model have their own."""

    def __init__(self) -> None:
        self._reference: weakref.ref[RunningLogs] | None = None

    @property
    def logs(self) -> RunningLogs | None:
        return None if self._reference is None else self._reference()

    @logs.setter
    def logs(self, logs: RunningLogs) -> None:
        self._reference = weakref.ref(logs)

    def __reduce__(self) -> Any:
        return LogsInUse, ()


def figure(value: Any) -> Any:
    """A number as Python has it; anything else as it is."""
    return float(value) if np.ndim(value) == 0 and not isinstance(value, dict) else value
