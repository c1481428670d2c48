"""Training that is interrupted and goes on is that which never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, layers, utils

RNG = np.random.default_rng(6)
X, Y = RNG.normal(size=(24, 5, 3)), RNG.normal(size=(24, 1))


def model() -> Any:
    utils.set_random_seed(4)
    made = rnnx.Sequential([rnnx.Input((5, 3)), layers.GRU(4, dropout=0.3), layers.Dense(1)])
    made.compile(rnnx.optimizers.Adam(0.01), "mse")
    return made


class Interrupted(Exception):
    pass


def interrupting(epoch: int, batch: int | None = None) -> Any:
    now = [0]

    def begin(number: int, logs: Any) -> None:
        now[0] = number
        if number == epoch and batch is None:
            raise Interrupted

    def batch_end(number: int, logs: Any) -> None:
        if now[0] == epoch and number == batch:
            raise Interrupted

    return callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=batch_end)


def trained(folder: Path, *more: Any, **options: Any) -> tuple[Any, list[int]]:
    made = model()
    backup = callbacks.BackupAndRestore(folder, **options)
    history = made.fit(X, Y, epochs=5, batch_size=8, verbose=0, callbacks=[backup, *more])
    return made, history.epoch


@pytest.mark.parametrize("batch", [None, 1])
def test_it_goes_on_as_if_it_had_never_stopped(batch: int | None, tmp_path: Path) -> None:
    whole = model()
    whole.fit(X, Y, epochs=5, batch_size=8, verbose=0)
    with pytest.raises(Interrupted):
        trained(tmp_path / "b", interrupting(3, batch))
    assert [file.name for file in (tmp_path / "b").iterdir()] == ["latest.npz"]
    again, epochs = trained(tmp_path / "b")
    assert epochs == [3, 4]
    for own, expected in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(own, expected)
    assert again.optimizer.iterations == 15
    assert not (tmp_path / "b").exists()


def test_every_few_batches_and_kept_files(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trained(tmp_path, interrupting(2, 1), save_freq=2)
    (tmp_path / "mine.txt").write_text("stays")
    again, epochs = trained(tmp_path, save_freq=2, delete_checkpoint=False)
    assert epochs == [2, 3, 4] and again.optimizer.iterations == 17  # the epoch begins again, with what it had learned
    assert sorted(file.name for file in tmp_path.iterdir()) == ["latest.npz", "mine.txt"]
    assert trained(tmp_path)[1] == [4]  # saved in the middle of the last one
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trained(tmp_path, interrupting(3), double_checkpoint=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["latest.npz", "previous.npz"]
    (tmp_path / "latest.npz").write_bytes((tmp_path / "latest.npz").read_bytes()[:200])
    assert trained(tmp_path, delete_checkpoint=False, save_freq=1000)[1] == [2, 3, 4]
    (tmp_path / "previous.npz").write_bytes(b"")
    before = model().get_weights()
    with pytest.raises(ValueError, match="latest.npz: the state of the training cannot be read.*remove it"):
        trained(tmp_path)
    other = model()
    other.add(layers.Dense(2))
    with pytest.raises(ValueError, match="cannot be read"):
        other.fit(X, Y, verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path)])
    for own, kept in zip(model().get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, kept)


def test_ctrl_c_keeps_the_file(tmp_path: Path) -> None:
    def press(epoch: int, logs: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    try:
        trained(tmp_path, callbacks.LambdaCallback(on_epoch_begin=press))
    except KeyboardInterrupt:
        pass
    assert trained(tmp_path)[1] == [2, 3, 4]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="backup_dir"):
        callbacks.BackupAndRestore("")
    with pytest.raises(ValueError, match="save_freq"):
        callbacks.BackupAndRestore(tmp_path, save_freq=False)
    unbuilt = rnnx.Sequential([layers.Dense(1)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="not built yet"):
        unbuilt.fit(iter([(X[:, 0], Y)]), verbose=0, callbacks=[callbacks.BackupAndRestore(tmp_path)])
