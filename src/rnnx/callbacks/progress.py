"""Losses and metrics of a training as they come."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from rnnx.callbacks.callback import Callback, Logs


class Progress(Callback):
    """Losses and metrics as they come: a bar of tqdm when that is installed and there is a terminal, else plain lines.

    Parameters
    ----------
    verbose : {1, 2}
        2 never shows a bar.
    """

    on_every_rank = False

    def __init__(self, verbose: int = 1):
        self.verbose = verbose
        self._bar: Any = None
        self._make_bar: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._make_bar = None
        if self.verbose == 1 and sys.stderr.isatty():
            try:
                from tqdm import tqdm

                self._make_bar = tqdm
            except ImportError:
                pass

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._start = self._next_reading = time.perf_counter()
        if self._make_bar is not None:
            label = f"epoch {epoch + 1}/{self.params['epochs']}"
            self._bar = self._make_bar(total=self.params["steps"] or None, desc=label, leave=False)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._bar is None:
            return
        now = time.perf_counter()
        if now >= self._next_reading:
            self._bar.set_postfix({k: shown(v) for k, v in (logs or {}).items()}, refresh=False)
            self._next_reading = now + max(0.1, 20 * (time.perf_counter() - now))  # some figures take long to compute
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if not self.verbose:
            return
        seconds = time.perf_counter() - self._start
        left = seconds * (self.params["epochs"] - epoch - 1)
        metrics = "  ".join(f"{name} {shown(value)}" for name, value in (logs or {}).items())
        print(
            f"epoch {epoch + 1}/{self.params['epochs']}  {seconds:.2f} s  {metrics}  ({_duration(left)} left)",
            flush=True,
        )

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.close()


class ProgbarLogger(Progress):
    """`Progress` under the name that Keras has for it; how much it says is what ``fit`` was told (1 if nothing)."""

    def __init__(self) -> None:
        super().__init__()

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else verbose


def shown(value: Any) -> str:
    """A figure in four digits; of a metric with several numbers, each of them."""
    if np.ndim(value) == 0 and isinstance(value, (int, float, np.number)):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple, np.ndarray)):
        return "[" + " ".join(shown(part) for part in value) + "]"
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
