"""Callbacks of ``fit``, under Keras' names."""

from __future__ import annotations

import csv
import inspect
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import metrics, saving
from rnnx.callbacks.callback import EVENTS, Callback, History, Logs, say
from rnnx.callbacks.callback_list import CallbackList
from rnnx.callbacks.progress import Progress
from rnnx.optimizers.schedules import LearningRateSchedule

__all__ = [
    "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler",
    "ModelCheckpoint", "Progress", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip


class Monitor(Callback):
    """Base of the callbacks that watch one metric.

    Parameters
    ----------
    monitor : str
    mode : {"auto", "min", "max"}
        Whether less or more is better; with ``"auto"`` the loss or metric of this name says so.
    min_delta : float
        Smallest change that counts.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: `mode` must be 'auto', 'min' or 'max', got {mode!r}")
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self._sign = {"min": -1, "max": 1, "auto": 0}[mode]  # 0: not known yet
        self.best: float | None = None

    def start_watching(self, figures: dict[str, str | None], adding: bool) -> None:
        """Find what is watched among the figures of a training, and which way it is better.

        Parameters
        ----------
        figures : dict
            See `CallbackList.watch`.
        adding : bool
            Whether another callback may add figures.

        Raises
        ------
        ValueError
            If there is none of this name, or nothing says which way is better; before the first batch.
        """
        if self.monitor not in figures and not adding and (other := _other_name(self.monitor)) in figures:
            warnings.warn(
                f"{type(self).__name__}: {self.monitor!r} is called {other!r} here, as compile(metrics=) says: that is "
                "watched",
                UserWarning,
                stacklevel=2,
            )
            self.monitor = other
        if self.monitor not in figures and not adding:
            raise ValueError(
                f"{type(self).__name__}: there is no {self.monitor!r} to watch; there are {', '.join(figures)}"
            )
        if self.mode == "auto":
            self._sign = self._direction(figures.get(self.monitor))

    def _direction(self, known: str | None) -> int:
        """1 or -1 for what is known of the watched figure; without a model, as a loss or metric of this name has it."""
        if known is None:
            name = self.monitor.removeprefix("val_")
            known = "down" if name == "loss" else metrics.direction_of(name)
        if known is None:
            raise ValueError(
                f"{type(self).__name__}: nothing says whether more or less of {self.monitor!r} is better; "
                "give mode='max' or mode='min'"
            )
        return 1 if known == "up" else -1

    def current(self, logs: Logs | None) -> float | None:
        """The metric; None in an epoch without validation; a missing one is an error that names those there are."""
        if self.monitor not in (logs or {}):
            if self.monitor.startswith("val_") and self.params.get("validation_freq", 1) > 1:
                return None
            raise ValueError(
                f"{type(self).__name__}: there is no {self.monitor!r} to watch; there are {', '.join(logs or {})}"
            )
        return float((logs or {})[self.monitor])

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value is better by at least ``min_delta``; NaN never is."""
        if math.isnan(value):
            return False
        self._sign = self._sign or self._direction(None)
        return than is None or self._sign * (value - than) > self.min_delta


def _other_name(name: str) -> str:
    """The accuracy by its name before Keras 2.3, or since."""
    start, _, last = name.rpartition("acc" if name.endswith("acc") else "accuracy")
    if last or not name.endswith(("acc", "accuracy")) or start and not start.endswith("_"):
        return name
    return start + ("accuracy" if name.endswith("acc") else "acc")


class EarlyStopping(Monitor):
    """Stop when a metric has not become better for ``patience`` epochs.

    Parameters
    ----------
    monitor, min_delta, mode
        See `Monitor`.
    patience : int
    baseline : float, optional
        Value to beat.
    restore_best_weights : bool
        Go back to the weights of the best epoch at the end.
    start_from_epoch : int
        Epochs to wait first.

    Attributes
    ----------
    best, best_epoch, best_weights
        The best value, its epoch, and its weights if they are kept.
    wait, stopped_epoch : int
        Epochs since the best; the epoch that was the last, or 0.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best_weights: list[Any] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait, self.stopped_epoch, self.best, self.best_epoch = 0, 0, None, 0
        self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.is_better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.is_better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            say(f"stopped early after epoch {self.stopped_epoch + 1}; the best was {self.best_epoch + 1}")
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Save the model after epochs; each file is written whole or not at all.

    A folder that is not there is made. What cannot work is refused before the first step: a suffix that no format has
    when this is made, a model that the format cannot hold and a place that cannot be written when training begins.

    Parameters
    ----------
    filepath : path
        Ending in ``.keras``, ``.h5``, ``.hdf5`` or ``.safetensors``; weights alone in ``.weights.h5``, ``.h5``,
        ``.safetensors`` or ``.pt``. May hold ``{epoch}`` and names of metrics, for example
        ``"m-{epoch:02d}-{val_loss:.3f}.safetensors"``.
    monitor, mode
        See `Monitor`.
    save_best_only : bool
        Only when the metric became better.
    save_weights_only : bool
    save_freq : "epoch" or int
        After every epoch, or after so many batches; a name may then hold ``{batch}``.
    include_optimizer : bool, optional
        So that training can go on from the file; if not given, where the format has a place for it.
    period : int
        Epochs between two files, as Keras 2 called it; with ``save_freq="epoch"``.
    """

    on_every_rank = False
    not_attributes = frozenset({"initial_value_threshold"})  # the first `best`

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
        include_optimizer: bool | None = None,
        *,
        period: int = 1,
    ):
        super().__init__(monitor, mode)
        if isinstance(period, bool) or not isinstance(period, (int, np.integer)) or period < 1:
            raise ValueError(f"ModelCheckpoint: `period` must be a positive integer, got {period!r}")
        if period > 1 and save_freq != "epoch":
            raise ValueError(f"ModelCheckpoint: `period` counts epochs, and `save_freq` says {save_freq} batches")
        if save_freq != "epoch" and (isinstance(save_freq, (bool, str)) or int(save_freq) < 1):
            raise ValueError(f"ModelCheckpoint: `save_freq` must be 'epoch' or a positive integer, got {save_freq!r}")
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.include_optimizer = include_optimizer
        self.best = initial_value_threshold
        self.save_freq, self._epoch, self._batches = save_freq, 0, 0
        self.period, self._waited = int(period), 0
        saving.check_kind(None, self.filepath, weights_only=save_weights_only)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        saving.check_kind(self.model, self.filepath, weights_only=self.save_weights_only)
        path = Path(self.filepath)
        while "{" in str(path.parent):  # a folder that is not known yet
            path = path.parent
        saving.check_place(path)

    def start_watching(self, figures: dict[str, str | None], adding: bool) -> None:
        if self.save_best_only:
            super().start_watching(figures, adding)
        if not adding:
            place = {"epoch": 1} if self.save_freq == "epoch" else {"epoch": 1, "batch": 1}
            self._path(place, dict.fromkeys(figures, 0.5))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % self.save_freq == 0:
            self._save({"epoch": self._epoch + 1, "batch": batch + 1}, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq != "epoch":
            return
        self._waited += 1
        if self._waited >= self.period:
            self._waited = 0
            self._save({"epoch": epoch + 1}, logs)

    def _path(self, place: dict[str, int], logs: Logs | None) -> str:
        try:
            return self.filepath.format(**place, **(logs or {}))
        except KeyError as missing:
            raise ValueError(
                f"ModelCheckpoint: `filepath` {self.filepath!r} asks for {missing}; there are "
                f"{', '.join([*place, *(logs or {})])}"
            ) from None
        except (IndexError, ValueError) as error:
            raise ValueError(f"ModelCheckpoint: `filepath` {self.filepath!r} cannot be filled in: {error}") from None

    def _save(self, place: dict[str, int], logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.current(logs)
            if value is None or not self.is_better(value, self.best):
                return
            self.best = value
        path = self._path(place, logs)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path, include_optimizer=self.include_optimizer)
        if self.verbose:
            say(f"saved {path}")


def refuse_schedule(callback: Callback, optimizer: Any) -> None:
    """Raise a TypeError if a callback is to set a learning rate that a schedule sets."""
    if isinstance(optimizer._rate, LearningRateSchedule):
        schedule = type(optimizer._rate).__name__
        raise TypeError(
            f"{type(callback).__name__}: the optimizer's learning rate is a {schedule}, which this callback would "
            "overrule; give the optimizer a number, or leave the callback out"
        )


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by ``factor`` when a metric has not become better for ``patience`` epochs.

    Parameters
    ----------
    monitor, mode, min_delta
        See `Monitor`.
    factor : float
    patience, cooldown : int
    min_lr : float
    epsilon : float, optional
        The name of ``min_delta`` before Keras 2.1.6.
    """

    not_attributes = frozenset({"epsilon"})  # an old word for `min_delta`

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        epsilon: float | None = None,
    ):
        super().__init__(monitor, mode, min_delta if epsilon is None else epsilon)
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: `factor` must lie between 0 and 1, got {factor}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.wait, self.cooldown_counter = 0, 0

    def in_cooldown(self) -> bool:
        """Whether nothing is counted because the rate has just been reduced."""
        return self.cooldown_counter > 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        refuse_schedule(self, self.model.optimizer)
        self.wait, self.cooldown_counter, self.best = 0, 0, None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        value = self.current(logs)
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter, self.wait = self.cooldown_counter - 1, 0
        if self.is_better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.in_cooldown():
            self.wait += 1
            rate = float(self.model.optimizer.learning_rate)
            if self.wait >= self.patience and rate > self.min_lr:
                self.model.optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    say(f"epoch {epoch + 1}: learning rate {self.model.optimizer.learning_rate:.3g}")


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate) -> learning rate``, or ``schedule(epoch) -> learning rate``.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self._takes_rate = True
        except TypeError:
            self._takes_rate = False
        except ValueError:  # a function of C that does not say
            self._takes_rate = True

    def on_train_begin(self, logs: Logs | None = None) -> None:
        refuse_schedule(self, self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        before = (float(self.model.optimizer.learning_rate),) if self._takes_rate else ()
        rate = self.schedule(epoch, *before)
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            say(f"epoch {epoch + 1}: learning rate {rate:.3g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class CSVLogger(Callback):
    """Write losses and metrics of every epoch to a file; each line is flushed.

    Parameters
    ----------
    filename : path
    separator : str
    append : bool
        Go on with an existing file.
    """

    on_every_rank = False

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._names: list[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._names = None
        if self.append and self.filename.exists() and self.filename.stat().st_size:
            with self.filename.open(newline="") as file:
                self._names = next(csv.reader(file, delimiter=self.separator))
        else:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = {"epoch": epoch, **(logs or {})}
        names = self._names or []
        if new := [name for name in row if name not in names]:
            self._add_columns([*names, *new], len(new))
        with self.filename.open("a", newline="") as file:
            csv.writer(file, delimiter=self.separator).writerow([row.get(name, "NA") for name in self._names or []])

    def _add_columns(self, names: list[str], new: int) -> None:
        """Write the lines so far again, with NA in the columns of those that were not there before."""
        with self.filename.open(newline="") as file:
            lines = list(csv.reader(file, delimiter=self.separator))[1:]
        with self.filename.open("w", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            writer.writerows([names, *([*line, *["NA"] * new] for line in lines)])
        self._names = names


class TerminateOnNaN(Callback):
    """Stop when the loss is not a finite number.

    Parameters
    ----------
    raise_error : bool
        By an error; a `BackupAndRestore` keeps its file then.

    Raises
    ------
    RuntimeError
        With ``raise_error``.
    """

    def __init__(self, raise_error: bool = False):
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            if self.raise_error:
                raise RuntimeError(f"TerminateOnNaN: NaN or Inf loss: it is {loss} after batch {batch}")
            say(f"batch {batch}: the loss is {loss}, stopping")
            self.model.stop_training = True


class LambdaCallback(Callback):
    """Functions as a callback: ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end, on_train_begin, on_train_end, on_train_batch_begin, on_train_batch_end : callable
    **functions
        Those of other events, such as ``on_test_end``; what is not called ``on_...`` becomes an attribute.

    Raises
    ------
    TypeError
        If there is no such event.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., None] | None = None,
        on_epoch_end: Callable[..., None] | None = None,
        on_train_begin: Callable[..., None] | None = None,
        on_train_end: Callable[..., None] | None = None,
        on_train_batch_begin: Callable[..., None] | None = None,
        on_train_batch_end: Callable[..., None] | None = None,
        **functions: Any,
    ):
        functions.update(
            on_epoch_begin=on_epoch_begin,
            on_epoch_end=on_epoch_end,
            on_train_begin=on_train_begin,
            on_train_end=on_train_end,
            on_train_batch_begin=on_train_batch_begin,
            on_train_batch_end=on_train_batch_end,
        )
        known = {f"on_{event}" for event in (*EVENTS, "batch_begin", "batch_end")}
        if unknown := {name for name in functions if name.startswith("on_")} - known:
            raise TypeError(f"LambdaCallback: unknown event(s) {', '.join(sorted(unknown))}")
        for name, function in functions.items():
            if function is not None or name not in known:
                setattr(self, name, function)
