"""The running means of the weights in the place of the weights."""

from __future__ import annotations

from rnnx.callbacks.callback import Callback, Logs
from rnnx.layers.weight import changing


class SwapEMAWeights(Callback):
    """Evaluate and predict with the running means that an optimizer with ``use_ema=True`` keeps.

    Parameters
    ----------
    swap_on_epoch : bool
        Also at the end of an epoch, for callbacks behind this one, such as a `ModelCheckpoint`; and back at the
        beginning of the next.

    Raises
    ------
    ValueError
        If the optimizer keeps no means.
    """

    def __init__(self, swap_on_epoch: bool = False):
        self.swap_on_epoch = swap_on_epoch
        self._swapped = False

    def _swap(self, to_averages: bool) -> None:
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                f"SwapEMAWeights: the optimizer must have use_ema=True, got {type(optimizer).__name__} without it"
            )
        if self._swapped == to_averages:
            return
        pairs = optimizer._averages
        with changing([weight for weight, _ in pairs]):
            for weight, average in pairs:
                value = weight.array.copy()
                weight.writable()[...] = average
                average[...] = value
        self._swapped = to_averages

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._swapped = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.swap_on_epoch:
            return
        self._swap(True)
        if epoch == self.params["epochs"] - 1 or self.model.stop_training:
            for weight, average in self.model.optimizer._averages:  # which become the weights when training ends
                average[...] = weight.array

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swap(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swap(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._swap(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._swap(False)
