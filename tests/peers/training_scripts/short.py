"""One short epoch of a few rows where a script trains for hours."""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np

import rnnx

ROWS = 32  # of the data of a fit
TURNS = 3  # fits of one model in a loop; the later ones give the last result again
STEPS = 2  # batches of a generator
LARGE = 10_000  # numbers in a row, of which two rows are enough
BATCHES = 200  # single batches, after which the script has shown that it trains


class Enough(BaseException):
    """The script has trained as long as it may; no error that it would catch."""


class Training:
    """What a script trained: how often it began, and how often it came to the end."""

    def __init__(self) -> None:
        self.begun = self.done = 0
        self.losses: list[float] = []


def rows(x: Any) -> int:
    """Rows of an array, a table, or of several in a list or dict."""
    if isinstance(x, dict):
        return min(map(rows, x.values()), default=0)
    if several(x):
        return min(map(len, x))
    return len(x) if hasattr(x, "__len__") else 0


def several(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and bool(x) and hasattr(x[0], "shape") and np.ndim(x[0]) >= 1


def cut(x: Any, count: int) -> Any:
    """The first rows."""
    if isinstance(x, dict):
        return {name: cut(value, count) for name, value in x.items()}
    if several(x):
        return type(x)(cut(value, count) for value in x)
    if hasattr(x, "iloc"):
        return x.iloc[:count]
    return x[:count] if hasattr(x, "__getitem__") and hasattr(x, "__len__") else x


def complete(history: dict[str, list[Any]], epochs: int) -> None:
    """As many figures as epochs were asked for, and the accuracy under its name before Keras 2.3 too."""
    for name, values in list(history.items()):
        values += values[-1:] * (epochs - len(values))
        if name.endswith("accuracy"):
            history.setdefault(name.replace("accuracy", "acc"), values)


FIT = ("batch_size epochs verbose callbacks validation_split validation_data shuffle class_weight sample_weight "
       "initial_epoch steps_per_epoch validation_steps").split()  # fmt: skip


def install(training: Training) -> None:
    """Shorten ``fit``, ``train_on_batch`` and ``evaluate`` of every model, and count what was trained."""
    fit, train_on_batch, evaluate = rnnx.Model.fit, rnnx.Model.train_on_batch, rnnx.Model.evaluate
    last: dict[int, tuple[int, Any]] = {}

    @wraps(fit)  # with its signature, which others read
    def short_fit(self: Any, x: Any = None, y: Any = None, *args: Any, **options: Any) -> Any:
        training.begun += 1
        options.update(zip(FIT, args, strict=False))
        turns, history = last.get(id(self), (0, None))
        if turns >= TURNS:
            return history
        asked = 1
        for name in ("epochs", "nb_epoch"):
            if name in options:
                asked = int(options[name])
                options[name] = min(1, int(options[name])) + int(options.get("initial_epoch") or 0)
        options["verbose"] = 0
        stateful = any(getattr(layer, "stateful", False) for layer in self.layers)
        size = int(options.get("batch_size") or 32)

        def kept(count: int) -> int:
            return min(count, max(size, ROWS // size * size) if stateful else ROWS)

        if y is not None and (hasattr(x, "shape") or isinstance(x, (list, tuple, dict))):
            count = kept(rows(x))
            if not stateful and hasattr(x, "shape") and np.prod(x.shape[1:]) > LARGE:
                count = min(count, 2)
            if options.get("sample_weight") is not None:
                options["sample_weight"] = cut(options["sample_weight"], count)
            x, y = cut(x, count), cut(y, count)
            held = options.get("validation_data")
            if isinstance(held, (tuple, list)) and len(held) >= 2:
                options["validation_data"] = tuple(cut(value, kept(rows(held[0]))) for value in held)
        elif y is None and not hasattr(x, "shape"):
            length = len(x) if hasattr(x, "__len__") else None
            steps = options.get("steps_per_epoch") or length
            options["steps_per_epoch"] = min(STEPS, int(steps)) if steps else None
            if options.get("validation_steps"):
                options["validation_steps"] = min(STEPS, int(options["validation_steps"]))
        history = fit(self, x, y, **options)
        training.done += 1
        training.losses = [float(value) for value in history.history.get("loss", [])][-1:]
        complete(history.history, asked)
        last[id(self)] = (turns + 1, history)
        return history

    @wraps(train_on_batch)
    def short_train_on_batch(self: Any, *args: Any, **options: Any) -> Any:
        training.begun += 1
        result = train_on_batch(self, *args, **options)
        training.done += 1
        if training.done > BATCHES:
            raise Enough
        return result

    @wraps(evaluate)
    def short_evaluate(self: Any, x: Any = None, y: Any = None, *args: Any, **options: Any) -> Any:
        stateful = any(getattr(layer, "stateful", False) for layer in self.layers)
        if y is not None and not stateful and options.get("sample_weight") is None:
            x, y = cut(x, 500), cut(y, 500)
        return evaluate(self, x, y, *args[:1], **{**options, "verbose": 0})

    rnnx.Model.fit = short_fit  # type: ignore[method-assign]
    rnnx.Model.train_on_batch = short_train_on_batch  # type: ignore[method-assign]
    rnnx.Model.evaluate = short_evaluate  # type: ignore[method-assign]
