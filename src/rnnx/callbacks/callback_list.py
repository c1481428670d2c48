"""Several callbacks as one."""

from __future__ import annotations

from functools import partial
from typing import Any

from rnnx._config import what_is
from rnnx.callbacks.callback import EVENTS, Callback, History
from rnnx.callbacks.progress import Progress


class CallbackList:
    """Callbacks called one after the other; ``on_epoch_begin(...)`` and the like call that of each.

    Parameters
    ----------
    callbacks : Callback or list of Callback, optional
    add_history, add_progbar : bool
        Whether a `History` and a `Progress` are added if there is none.
    model : Model, optional
    **params
        What the callbacks find in ``params``.
    """

    rank = 0  # of this process among those that train the model together

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ):
        given = [] if callbacks is None else callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        self.callbacks: list[Callback] = []
        self.model, self.params = model, params
        for callback in given:
            self.append(callback)
        if add_history and not any(isinstance(callback, History) for callback in self.callbacks):
            self.append(History())
        if add_progbar and not any(isinstance(callback, Progress) for callback in self.callbacks):
            self.append(Progress())

    def append(self, callback: Any) -> None:
        """Add a callback at the end."""
        if not isinstance(callback, Callback):
            raise TypeError(f"a callback must be a rnnx.callbacks.Callback, got {what_is(callback)}")
        self.callbacks.append(callback)
        callback.set_model(self.model)
        callback.set_params(self.params)

    def set_model(self, model: Any) -> None:
        """Give all callbacks this model."""
        self.model = model
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Give all callbacks these parameters."""
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def __getattr__(self, name: str) -> Any:
        event = name.removeprefix("on_")
        if name != event and event in (*EVENTS, "batch_begin", "batch_end"):
            return partial(self.call, event)
        raise AttributeError(f"CallbackList has no attribute {name!r}")

    def watch(self, figures: dict[str, str | None]) -> None:
        """Tell those that watch a figure which there will be, before the first batch.

        Parameters
        ----------
        figures : dict
            For every name in the logs whether "up" or "down" is better, None where nobody knows.
        """
        adding = any(callback.adds_figures() for callback in self.callbacks)
        for callback in self.callbacks:
            if hasattr(callback, "start_watching"):
                callback.start_watching(figures, adding)

    def call(self, event: str, *arguments: Any) -> None:
        """Call ``on_<event>`` of every callback that is called on this rank."""
        for callback in self.callbacks:
            if self.rank and not callback.on_every_rank:
                continue
            getattr(callback, f"on_{event}")(*arguments)
