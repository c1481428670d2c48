"""What every callback is, and the history of a training."""

from __future__ import annotations

from typing import Any

from rnnx._assigned import Assigned
from rnnx._config import refuse_overrides
from rnnx.training.group import group_of_now

Logs = dict[str, float]
EVENTS = (
    "train_begin", "train_end", "epoch_begin", "epoch_end", "train_batch_begin", "train_batch_end", "test_begin",
    "test_end", "test_batch_begin", "test_batch_end", "predict_begin", "predict_end", "predict_batch_begin",
    "predict_batch_end",
)  # fmt: skip


def say(text: str) -> None:
    """Print a line, once for all processes that train together."""
    group = group_of_now.get()
    if group is None or group.rank == 0:
        print(text)


CALLED = {f"on_{event}" for event in (*EVENTS, "batch_begin", "batch_end")}


class Callback(Assigned, family=True):
    """Base of the callbacks; ``self.model`` and ``self.params`` are set by ``fit``.

    Raises
    ------
    TypeError
        If a class of one's own defines ``on_...`` for an event that there is not, when it is defined.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        unknown = {name for name in vars(cls) if name.startswith("on_") and callable(vars(cls)[name])} - CALLED
        known = ", ".join(sorted(CALLED))
        refuse_overrides(cls, dict.fromkeys(unknown, f"the events are {known}"))

    model: Any = None
    params: dict[str, Any] = {}
    on_every_rank = True  # False for one that writes: of several processes that train together, the first calls it

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def adds_figures(self) -> bool:
        """Whether this may write names of its own into the logs of an epoch."""
        events = (self.on_epoch_end, self.on_test_end, self.on_train_batch_end)
        functions = [getattr(event, "__func__", event) for event in events]
        return any(not str(getattr(function, "__module__", "")).startswith("rnnx.") for function in functions)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also of an interrupted training."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch; ``logs`` holds its losses and metrics."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch; ``logs`` holds losses and metrics of the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction."""


class History(Callback):
    """Losses and metrics of all epochs; what ``fit`` returns.

    Attributes
    ----------
    epoch : list of int
    history : dict of lists
    interrupted : bool
        Whether training was stopped by Ctrl-C.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self.interrupted = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
