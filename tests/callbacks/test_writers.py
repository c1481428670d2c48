"""Callbacks that hand figures on: to TensorBoard's writer, to a server."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import types
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, layers

X, Y = np.random.default_rng(1).normal(size=(8, 3)), np.ones((8, 1))


def model() -> Any:
    made = rnnx.Sequential([rnnx.Input((3,)), layers.Dense(1, name="out")])
    made.compile(rnnx.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return made


class Writer:
    """Stands for the writer of tensorboardX."""

    seen: dict[str, list[Any]] = {}

    def __init__(self, folder: str):
        self.own = self.seen.setdefault(Path(folder).name, [])

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert isinstance(value, float)
        self.own.append((tag, step))

    def add_histogram(self, tag: str, values: Any, step: int) -> None:
        self.own.append((tag, np.shape(values), step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.own.append("closed")


@pytest.fixture
def seen(monkeypatch: Any) -> dict[str, list[Any]]:
    Writer.seen = {}
    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    return Writer.seen


def test_tags_of_tensorboard(seen: dict[str, list[Any]], tmp_path: Path) -> None:
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, update_freq=2, write_steps_per_second=True)
    made = model()
    made.fit(X, Y, epochs=2, batch_size=2, validation_data=(X, Y), verbose=0, callbacks=[board])
    epoch = ["epoch_loss", "epoch_mae", "epoch_learning_rate", "epoch_steps_per_second"]
    expected: list[Any] = []
    for k in range(2):
        expected += [(f"batch_{name}", 4 * k + step) for step in (2, 4) for name in ("loss", "mae")]
        expected += [(tag, k) for tag in epoch]
        expected += [("out/kernel/histogram", (3, 1), k), ("out/bias/histogram", (1,), k)]
    assert seen["train"] == [*expected, "closed"]
    assert seen["validation"][:3] == [
        ("evaluation_loss_vs_iterations", 4), ("evaluation_mae_vs_iterations", 4), ("epoch_loss", 0),
    ]  # fmt: skip
    made.evaluate(X, Y, callbacks=[board])
    assert seen["validation"][-2:] == [("evaluation_mae_vs_iterations", 8), "closed"]


def test_what_tensorboard_needs_and_refuses(seen: Any, monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="update_freq"):
        callbacks.TensorBoard(update_freq=0)
    for options in ({"write_images": True}, {"profile_batch": 2}, {"embeddings_freq": 1}):
        with pytest.warns(UserWarning, match=f"`{next(iter(options))}` is not written"):
            callbacks.TensorBoard(**options)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="`batch_size` is of Keras 2 and has no effect"):
        callbacks.TensorBoard(batch_size=64)
    with pytest.raises(TypeError, match="unknown argument.* batchsize"):
        callbacks.TensorBoard(batchsize=64)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'rnnx\[tensorboard\]'"):
        callbacks.TensorBoard()


def test_tensorboard_writes_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1)
    model().fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[board])
    for folder in ("train", "validation"):
        (file,) = (tmp_path / folder).iterdir()
        assert b"epoch_loss" in file.read_bytes()


def test_remote_monitor() -> None:
    posted: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            posted.append((self.path, self.headers["Content-Type"], self.headers["X-Own"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    root = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        for as_json in (False, True):
            monitor = callbacks.RemoteMonitor(root, headers={"X-Own": "1"}, send_as_json=as_json)
            model().fit(X, Y, epochs=1, verbose=0, callbacks=[monitor])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    (path, kind, own, form), (_, other, _, text) = posted
    assert (path, kind, own, other) == (
        "/publish/epoch/end/", "application/x-www-form-urlencoded", "1", "application/json",
    )  # fmt: skip
    assert json.loads(urllib.parse.parse_qs(form)["data"][0]).keys() == json.loads(text).keys() == {
        "epoch", "loss", "mae",
    }  # fmt: skip
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server at http://127"):
        model().fit(X, Y, verbose=0, callbacks=[callbacks.RemoteMonitor(root)])
    with pytest.raises(ValueError, match="http://"):
        callbacks.RemoteMonitor("file:///etc")


def test_means_of_weights_need_an_optimizer_that_keeps_them() -> None:
    with pytest.raises(ValueError, match="use_ema=True, got SGD"):
        model().fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[callbacks.SwapEMAWeights()])


@pytest.mark.parametrize(
    ("options", "val_loss", "at_the_ends"),
    [
        (None, [0.13114, 0.058721, 0.027369],
         [[0.622205, -0.148886, -0.026546], [0.705023, -0.078183, -0.099234], [0.761783, -0.028283, -0.140394]]),
        ({}, [0.13398, 0.082954, 0.044335],
         [[0.622205, -0.148886, -0.026546], [0.705023, -0.078183, -0.099234], [0.761783, -0.028283, -0.140394]]),
        ({"swap_on_epoch": True}, [0.13398, 0.082954, 0.044335],
         [[0.613549, -0.159388, -0.037619], [0.669014, -0.111319, -0.081996], [0.725792, -0.061549, -0.124045]]),
    ],
)  # fmt: skip
def test_means_of_weights_in_their_place(options: Any, val_loss: list[float], at_the_ends: list[list[float]]) -> None:
    """The values of Keras 3.15 on its PyTorch backend."""
    x = np.arange(12.0).reshape(6, 2) / 6 - 1
    y = x[:, :1] * 2 - x[:, 1:]
    made = rnnx.Sequential([rnnx.Input((2,)), layers.Dense(1)])
    made.set_weights([np.array([[0.5], [-0.25]]), np.array([0.1])])
    made.compile(rnnx.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.6), "mse")
    swap = [] if options is None else [callbacks.SwapEMAWeights(**options)]
    seen: list[Any] = []

    def look(epoch: int, logs: Any) -> None:
        seen.append(np.concatenate([weight.ravel() for weight in made.get_weights()]))

    history = made.fit(
        x, y, epochs=3, batch_size=3, shuffle=False, verbose=0, validation_data=(x, y),
        callbacks=[*swap, callbacks.LambdaCallback(on_epoch_end=look)],
    )  # fmt: skip
    np.testing.assert_allclose(history.history["val_loss"], val_loss, atol=1e-6)
    np.testing.assert_allclose(seen, at_the_ends, atol=1e-6)
    assert made.evaluate(x, y, verbose=0, callbacks=swap) == pytest.approx(0.044335, abs=1e-6)
    np.testing.assert_allclose(made.predict(x, callbacks=swap)[:2, 0], [-0.798546, -0.577132], atol=1e-6)
    look(3, {})
    np.testing.assert_allclose(seen[-1], [0.725792, -0.061549, -0.124045], atol=1e-6)
