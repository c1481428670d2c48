"""A training that goes on where it was interrupted."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import saving
from rnnx._seeds import shuffling_generator
from rnnx.callbacks.callback import Callback, Logs

NAME = "latest.npz"
PREVIOUS = "previous.npz"


class BackupAndRestore(Callback):
    """Keep the state of a training in a folder, and go on from it if ``fit`` is called again after an interruption.

    Weights, the state of the optimizer, of all noise and of the order of the rows are in one file, which is written
    whole or not at all. What was interrupted in the middle of an epoch begins that epoch again.

    Parameters
    ----------
    backup_dir : path
        A folder for this training alone.
    save_freq : "epoch" or int
        After every epoch, or after so many batches.
    double_checkpoint : bool
        Keep the state before the last one too, for a disk that damages files.
    delete_checkpoint : bool
        Remove the files when the training has come to its end.

    Examples
    --------
    >>> import tempfile, numpy as np, rnnx
    >>> x, y = np.ones((4, 3)), np.ones((4, 1))
    >>> def train(epochs):
    ...     model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(1)])
    ...     model.compile("adam", "mse")
    ...     backup = rnnx.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    ...     return model.fit(x, y, epochs=epochs, verbose=0, callbacks=[backup]).epoch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(train(2), train(5))
    [0, 1] [2, 3, 4]
    """

    on_every_rank = False

    def __init__(
        self,
        backup_dir: Any,
        save_freq: Any = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        if not str(backup_dir or ""):
            raise ValueError("BackupAndRestore: `backup_dir` must be the path of a folder, got an empty one")
        if save_freq != "epoch" and (isinstance(save_freq, (bool, str)) or int(save_freq) < 1):
            raise ValueError(f"BackupAndRestore: `save_freq` must be 'epoch' or a positive integer, got {save_freq!r}")
        self.backup_dir, self.save_freq = Path(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self._epoch = self._batches = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self.model.built:
            raise ValueError(
                f"BackupAndRestore: {self.model.name!r} is not built yet; call it once, or give it an input shape"
            )
        self._epoch, self._batches, fault = self.model.first_epoch, 0, None
        saving.check_place(self.backup_dir / NAME)
        for name in (NAME, PREVIOUS):
            path = self.backup_dir / name
            if not path.exists():
                continue
            try:
                self._restore(path)
                return
            except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
                fault = fault or saving.FormatError(
                    f"{path}: the state of the training cannot be read ({error}); remove it to start afresh"
                )
        if fault is not None:
            raise fault

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self.save_freq != "epoch" and self._batches % self.save_freq == 0:
            self._save(self._epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save(self._epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        ended = self._epoch >= self.params["epochs"] or self.model.stop_training  # not by an error or Ctrl-C
        if ended and self.delete_checkpoint:
            for name in (NAME, PREVIOUS):
                (self.backup_dir / name).unlink(missing_ok=True)
            if not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()

    # ---- The file ----------------------------------------------------------------------------------------------------

    def _save(self, epoch: int) -> None:
        model = self.model
        arrays = {f"weights/{k}": weight.array for k, weight in enumerate(model.weights)}
        arrays.update({f"optimizer/{name}": value for name, value in model.optimizer.get_state().items()})
        for k, generator in enumerate(model.seed_generators()):
            arrays[f"noise/{k}"] = np.array(generator.state, np.int64)
        order = shuffling_generator().bit_generator.state
        arrays["order"] = np.frombuffer(json.dumps(order).encode(), np.uint8)
        arrays["epoch"] = np.array(epoch, np.int64)

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.savez(file, **arrays)

        self.backup_dir.mkdir(parents=True, exist_ok=True)
        path = self.backup_dir / NAME
        if self.double_checkpoint and path.exists():
            os.replace(path, self.backup_dir / PREVIOUS)
        saving.write_whole(path, write)

    def _restore(self, path: Path) -> None:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        model, epoch = self.model, int(arrays["epoch"])
        generators = model.seed_generators()
        weights = [arrays[f"weights/{k}"] for k in range(len(model.weights))]
        noise = [[int(n) for n in arrays[f"noise/{k}"]] for k in range(len(generators))]
        state = {n.removeprefix("optimizer/"): value for n, value in arrays.items() if n.startswith("optimizer/")}
        order = json.loads(arrays["order"].tobytes())
        model.set_weights(weights)
        model.optimizer.set_state(state)
        for generator, own in zip(generators, noise, strict=True):
            generator.state = own
        if order.get("bit_generator") == shuffling_generator().bit_generator.state["bit_generator"]:
            shuffling_generator().bit_generator.state = order
        model.first_epoch = self._epoch = epoch
