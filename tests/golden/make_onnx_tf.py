"""Make ``onnx_tf.npz``: models of tf.keras as tf2onnx writes them, with what ONNX Runtime makes of them.

Environment: ``pip install tensorflow-cpu==2.12.1 tf2onnx==1.16.1 'onnx<1.17' onnxruntime 'protobuf<5'`` (Python 3.11).
Command, from the root of the repository: ``python -m tests.golden.make_onnx_tf``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx

from .store import Case, save

layers, Input, Model, Sequential = tf.keras.layers, tf.keras.Input, tf.keras.Model, tf.keras.Sequential
FEATURES = 3


def chain(*inside: Callable[[], Any], steps: int | None = None) -> Callable[[], Any]:
    return lambda: Sequential([Input((steps, FEATURES)), *(make() for make in inside)])


def _two_inputs() -> Any:
    a, b = Input((5, 3)), Input((2,))
    return Model([a, b], layers.Dense(2)(layers.concatenate([layers.LSTM(4)(a), b])))


def _encoder_and_decoder() -> Any:
    a, b = Input((None, 3)), Input((None, 2))
    _, h, c = layers.LSTM(4, return_state=True)(a)
    return Model([a, b], layers.Dense(2)(layers.LSTM(4, return_sequences=True)(b, initial_state=[h, c])))


def _attention() -> Any:
    a = Input((5, 3))
    y = layers.LSTM(4, return_sequences=True)(a)
    return Model(a, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Attention()([y, y]))))


def _residual() -> Any:
    a = Input((5, 3))
    return Model(a, layers.Dense(2)(layers.GRU(4)(layers.add([a, layers.GRU(3, return_sequences=True)(a)]))))


def _states() -> Any:
    a = Input((5, 3))
    return Model(a, layers.LSTM(4, return_state=True, return_sequences=True)(a))


MODELS: dict[str, Callable[[], Any]] = {
    "LSTM": chain(lambda: layers.LSTM(4), lambda: layers.Dense(2)),
    "GRU": chain(lambda: layers.GRU(4, return_sequences=True), lambda: layers.Dense(2, activation="softmax")),
    "two both ways": chain(
        lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        lambda: layers.Bidirectional(layers.GRU(3)), lambda: layers.Dense(1, activation="sigmoid"),
    ),
    "two, fixed steps": chain(
        lambda: layers.LSTM(4, return_sequences=True), lambda: layers.GRU(4), lambda: layers.Dense(1), steps=5
    ),
    "pooled": chain(lambda: layers.GRU(4, return_sequences=True), layers.GlobalMaxPooling1D, lambda: layers.Dense(2)),
    "autoencoder": chain(
        lambda: layers.LSTM(4), lambda: layers.RepeatVector(5), lambda: layers.LSTM(4, return_sequences=True),
        lambda: layers.TimeDistributed(layers.Dense(3)), steps=5,
    ),
    "flattened": chain(
        lambda: layers.LSTM(4, return_sequences=True), layers.Flatten, lambda: layers.Dense(2), steps=5
    ),
    "ids": lambda: Sequential([
        Input((None,), dtype="int32"), layers.Embedding(9, 3), layers.LSTM(4), layers.Dense(1, activation="sigmoid"),
    ]),
    "two inputs": _two_inputs, "encoder and decoder": _encoder_and_decoder, "attention": _attention,
    "residual": _residual, "states": _states,
}  # fmt: skip


def main() -> None:
    """Write the file."""
    cases: dict[str, Case] = {}
    for name, make in MODELS.items():
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(sum(map(ord, name)))
        random, model = np.random.default_rng(1), make()
        for weight in model.weights:
            weight.assign(weight + random.normal(0, 0.1, weight.shape))
        entries = [tf.TensorSpec(t.shape, t.dtype, name=f"x{k}") for k, t in enumerate(model.inputs)]
        proto, _ = tf2onnx.convert.from_keras(model, input_signature=entries, opset=13)
        inputs: dict[str, Any] = {}
        for value, entry in zip(proto.graph.input, entries, strict=True):
            shape = [2, *(5 if n is None else n for n in entry.shape[1:])]
            ids = entry.dtype == tf.int32
            inputs[value.name] = random.integers(1, 9, shape).astype("i4") if ids else random.normal(size=shape)
            inputs[value.name] = inputs[value.name].astype("i4" if ids else "f4")
        data = proto.SerializeToString()
        case = cases[name] = Case({"writer": f"tf2onnx {tf2onnx.__version__}", "inputs": list(inputs)})
        case.put("file", np.frombuffer(data, np.uint8))
        for key, array in inputs.items():
            case.put(f"in/{key}", array)
        case.put("outputs", onnxruntime.InferenceSession(data).run(None, inputs))
    save("onnx_tf", cases)


if __name__ == "__main__":
    main()
