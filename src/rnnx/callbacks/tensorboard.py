"""Figures and weights for TensorBoard."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rnnx.callbacks.callback import Callback, Logs


def writer_class() -> Any:
    """The writer of event files.

    Raises
    ------
    ImportError
        If there is none.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard: the package tensorboardX is needed: pip install 'rnnx[tensorboard]'") from error
    return SummaryWriter


OF_KERAS_2 = {"batch_size", "write_grads", "embeddings_layer_names", "embeddings_data"}


class TensorBoard(Callback):
    """Write losses, metrics and weights as TensorBoard shows them, with the tags of Keras; needs tensorboardX.

    Parameters
    ----------
    log_dir : path
        Gets the folders ``train`` and ``validation``.
    histogram_freq : int
        Weights after so many epochs; 0 never.
    write_graph : bool
        Accepted as in Keras; graphs are not written, see `rnnx.utils.plot_model`.
    write_steps_per_second : bool
        Batches per second of every epoch.
    update_freq : "epoch", "batch" or int
        Figures after every epoch, every batch too, or after so many batches too.
    write_images, profile_batch, embeddings_freq, embeddings_metadata
        Accepted with a warning: pictures of weights, profiles and embeddings are not written.
    **old
        ``batch_size``, ``write_grads``, ``embeddings_layer_names`` and ``embeddings_data`` of Keras 2, with a warning.

    Raises
    ------
    ImportError
        If tensorboardX is not there.
    TypeError
        If an argument is unknown.
    ValueError
        If `update_freq` has no meaning.
    """

    on_every_rank = False

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: Any = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
        **old: Any,
    ):
        if unknown := old.keys() - OF_KERAS_2:
            raise TypeError(f"TensorBoard: unknown argument(s) {', '.join(sorted(unknown))}")
        for name in sorted(old):
            warnings.warn(f"TensorBoard: `{name}` is of Keras 2 and has no effect", UserWarning, stacklevel=2)
        for name, value in (
            ("write_images", write_images), ("profile_batch", profile_batch), ("embeddings_freq", embeddings_freq),
            ("embeddings_metadata", embeddings_metadata),
        ):  # fmt: skip
            if value:
                warnings.warn(f"TensorBoard: `{name}` is not written", UserWarning, stacklevel=2)
        if update_freq not in ("epoch", "batch") and (isinstance(update_freq, (bool, str)) or int(update_freq) < 1):
            raise ValueError(
                f"TensorBoard: `update_freq` must be 'epoch', 'batch' or a positive integer, got {update_freq!r}"
            )
        writer_class()
        self.log_dir, self.histogram_freq, self.write_graph = log_dir, histogram_freq, write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._steps, self._steps_before, self._training = 0, 0, False

    def _write(self, folder: str, values: dict[str, Any], step: int) -> None:
        if folder not in self._writers:
            self._writers[folder] = writer_class()(str(Path(self.log_dir) / folder))
        for name, value in values.items():
            if np.ndim(value) == 0:
                self._writers[folder].add_scalar(name, float(value), step)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._training, self._steps = True, int(self.model.optimizer.iterations)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started, self._steps_before = time.perf_counter(), self._steps

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._steps += 1
        if self.update_freq != "epoch" and self._steps % self.update_freq == 0:
            self._write("train", {f"batch_{name}": value for name, value in (logs or {}).items()}, self._steps)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        figures = dict(logs or {})
        own = {name: value for name, value in figures.items() if not name.startswith("val_")}
        own["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            seconds = time.perf_counter() - self._started
            own["steps_per_second"] = (self._steps - self._steps_before) / seconds
        held = {name.removeprefix("val_"): value for name, value in figures.items() if name.startswith("val_")}
        self._write("train", {f"epoch_{name}": value for name, value in own.items()}, epoch)
        if held:
            self._write("validation", {f"epoch_{name}": value for name, value in held.items()}, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for layer in self.model.layers:
                for weight in layer.weights:
                    self._writers["train"].add_histogram(f"{layer.name}/{weight.name}/histogram", weight.array, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_test_end(self, logs: Logs | None = None) -> None:
        steps = int(self.model.optimizer.iterations)
        figures = {f"evaluation_{name}_vs_iterations": value for name, value in (logs or {}).items()}
        self._write("validation", figures, steps)
        if not self._training:
            self._close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._training = False
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
