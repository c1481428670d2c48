"""Models that ONNX can express, each with an input: for the plain suite, and for ONNX Runtime beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import Input, Model, Sequential, layers

FEATURES = 3
WIDTH = 4
ACTIVATIONS = (
    "tanh", "sigmoid", "relu", "linear", "elu", "selu", "softplus", "softsign", "softmax", "log_softmax",
    "exponential", "gelu", "silu", "leaky_relu", "relu6", "hard_sigmoid", "hard_sigmoid_keras2",
)  # fmt: skip
RECURRENT_ACTIVATIONS = (
    "tanh", "sigmoid", "relu", "linear", "elu", "softplus", "softsign", "leaky_relu", "hard_sigmoid",
    "hard_sigmoid_keras2",
)  # fmt: skip
Maker = Callable[[], Any]
CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lstm": (layers.LSTM, {}),
    "gru_after": (layers.GRU, {}),
    "gru_before": (layers.GRU, {"reset_after": False}),
    "rnn": (layers.SimpleRNN, {}),
}
ENTRIES: dict[str, Maker] = {
    "plain": lambda: [layers.InputLayer((None, FEATURES), name="x")],
    "masking": lambda: [layers.InputLayer((None, FEATURES), name="x"), layers.Masking(name="masking")],
}


def chain(entry: str, *others: Any) -> Maker:
    return lambda: Sequential([*ENTRIES[entry](), *(make() for make in others)], name="model")


def _recurrent_models() -> dict[str, Maker]:
    found: dict[str, Maker] = {}
    for cell, (cls, options) in CELLS.items():
        for entry in ENTRIES:
            for sequences in (False, True):
                for zero in (False, True):
                    for back in (False, True):
                        if zero and entry == "plain":
                            continue
                        arguments = {**options, "return_sequences": sequences, "go_backwards": back,
                                     "zero_output_for_mask": zero, "name": "rnn"}  # fmt: skip
                        key = "-".join([cell, entry, *(w for w, on in (
                            ("sequences", sequences), ("zero", zero), ("backwards", back)) if on)])  # fmt: skip
                        found[key] = chain(entry, lambda cls=cls, a=arguments: cls(WIDTH, **a))
        for mode in ("concat", "sum", "mul", "ave"):
            for sequences in (False, True):
                entry = "masking" if sequences == (mode in ("concat", "mul")) else "plain"
                found[f"bidirectional-{cell}-{mode}-{entry}-{sequences}"] = chain(
                    entry,
                    lambda cls=cls, o=options, s=sequences, m=mode: layers.Bidirectional(
                        cls(WIDTH, return_sequences=s, name="rnn", **o), merge_mode=m, name="both"
                    ),
                )
        found[f"{cell}-no_bias"] = chain(
            "plain", lambda cls=cls, o=options: cls(WIDTH, use_bias=False, name="rnn", **o)
        )
    for name in RECURRENT_ACTIVATIONS:
        found[f"lstm-{name}"] = chain(
            "plain", lambda n=name: layers.LSTM(WIDTH, activation=n, recurrent_activation="hard_sigmoid", name="rnn")
        )
        found[f"gru-{name}"] = chain("plain", lambda n=name: layers.GRU(WIDTH, recurrent_activation=n, name="rnn"))
        found[f"rnn-{name}"] = chain("plain", lambda n=name: layers.SimpleRNN(WIDTH, activation=n, name="rnn"))
    return found


def _layer_models() -> dict[str, Maker]:
    found: dict[str, Maker] = {}

    def with_layer(key: str, make: Callable[[], Any], *more: Any, entry: str = "plain") -> None:
        found[key] = chain(entry, make, *more)

    for name in ACTIVATIONS:
        with_layer(f"dense-{name}", lambda n=name: layers.Dense(WIDTH, activation=n, name="dense"))
    with_layer("activation", lambda: layers.Activation("tanh", name="a"))
    with_layer("dense-no_bias", lambda: layers.Dense(WIDTH, use_bias=False, name="dense"))
    with_layer("relu", lambda: layers.ReLU(1.5, 0.1, 0.25, name="relu"))
    with_layer("softmax-time", lambda: layers.Softmax(axis=1, name="softmax"))
    with_layer("batch", lambda: layers.BatchNormalization(name="norm"))
    with_layer("batch-plain", lambda: layers.BatchNormalization(center=False, scale=False, name="norm"))
    with_layer("layer", lambda: layers.LayerNormalization(name="norm"))
    with_layer("layer-plain", lambda: layers.LayerNormalization(center=False, scale=False, name="norm"))
    for k, noise in enumerate((layers.Dropout, layers.SpatialDropout1D, layers.GaussianDropout, layers.AlphaDropout)):
        with_layer(f"noise-{k}", lambda n=noise: n(0.5, seed=1, name="noise"))
    for padding in ("valid", "same", "causal"):
        for stride, dilation in ((1, 1), (2, 1), (1, 2)):
            with_layer(
                f"conv-{padding}-{stride}-{dilation}",
                lambda p=padding, s=stride, d=dilation: layers.Conv1D(
                    6, 3, strides=s, padding=p, dilation_rate=d, groups=3, activation="relu", name="conv"
                ),
            )
    for pool in (layers.MaxPooling1D, layers.AveragePooling1D):
        for padding, stride in (("valid", 2), ("same", 1), ("same", 2), ("valid", 3)):
            with_layer(f"{pool.__name__}-{padding}-{stride}",
                       lambda c=pool, p=padding, s=stride: c(3, strides=s, padding=p, name="pool"))  # fmt: skip
    for pool in (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D):
        for entry in ENTRIES:
            with_layer(
                f"{pool.__name__}-{entry}", lambda c=pool, e=entry: c(keepdims=e == "plain", name="p"), entry=entry
            )
    first = {"data_format": "channels_first"}
    turned = lambda: layers.Permute((2, 1), name="turned")  # noqa: E731
    for pool in (layers.MaxPooling1D, layers.AveragePooling1D):
        with_layer(f"{pool.__name__}-first", turned, lambda c=pool: c(2, padding="same", name="pool", **first))
    for pool in (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D):
        with_layer(f"{pool.__name__}-first", turned, lambda c=pool: c(name="pool", **first))
    with_layer("flatten-first", lambda: layers.Reshape((-1, 3, 1), name="r"), lambda: layers.TimeDistributed(
        layers.Flatten(name="f", **first), name="td"))  # fmt: skip
    with_layer("permute", lambda: layers.Permute((2, 1), name="permute"))
    with_layer("repeat", lambda: layers.GlobalMaxPooling1D(name="g"), lambda: layers.RepeatVector(3, name="repeat"))
    with_layer("flatten", lambda: layers.GlobalMaxPooling1D(keepdims=True, name="g"), lambda: layers.Flatten(name="f"))
    with_layer("reshape", lambda: layers.Dense(6, name="d"), lambda: layers.Reshape((-1, 2, 3), name="reshape"))
    with_layer("time-dense", lambda: layers.TimeDistributed(layers.Dense(2, name="inner"), name="td"))
    with_layer(
        "time-gru",
        lambda: layers.Reshape((-1, FEATURES, 1), name="reshape"),
        lambda: layers.TimeDistributed(layers.GRU(2, name="inner"), name="td"),
    )
    found["embedding"] = lambda: Sequential(
        [layers.InputLayer((None,), dtype="int64", name="ids"),
         layers.Embedding(9, 5, mask_zero=True, name="embedding"),
         layers.LSTM(WIDTH, return_sequences=True, dropout=0.3, recurrent_dropout=0.2, name="first"),
         layers.Dropout(0.5, name="dropout"), layers.GRU(WIDTH, name="second"),
         layers.Dense(2, activation="softmax", name="dense")], name="model",
    )  # fmt: skip
    both = lambda: layers.Bidirectional(layers.LSTM(2, return_sequences=True, name="lstm"), name="both")  # noqa: E731
    for key, inside in (
        ("gru", [lambda: layers.Dropout(0.5, name="noise"), lambda: layers.GRU(2, name="last")]),
        ("both", [both, lambda: layers.SimpleRNN(3, name="last")]),
        ("average", [lambda: layers.GlobalAveragePooling1D(name="average")]),
    ):
        found[f"words-{key}"] = lambda inside=inside: Sequential(
            [layers.InputLayer((None, 4), dtype="int64", name="ids"),
             layers.Embedding(9, 3, mask_zero=True, name="embedding"),
             *(layers.TimeDistributed(make(), name=f"steps_{k}") for k, make in enumerate(inside)),
             layers.GRU(WIDTH, name="steps")], name="model",
        )  # fmt: skip
    found["embedding-int32"] = lambda: Sequential(
        [layers.InputLayer((None,), dtype="int32", name="ids"), layers.Embedding(9, 5, name="embedding"),
         layers.GRU(WIDTH, name="second")], name="model",
    )  # fmt: skip
    found["cells"] = chain(
        "masking",
        lambda: layers.RNN([layers.LSTMCell(3, name="a"), layers.GRUCell(4, name="b"),
                            layers.SimpleRNNCell(2, name="c")],
                           return_sequences=True, go_backwards=True, name="rnn"),
    )  # fmt: skip
    found["cells-both"] = chain(
        "plain",
        lambda: layers.Bidirectional(
            layers.RNN([layers.GRUCell(3, name="a"), layers.LSTMCell(2, name="b")], name="rnn"),
            merge_mode="sum", name="both"),
    )  # fmt: skip
    found["other-backward-layer"] = chain(
        "masking",
        lambda: layers.Bidirectional(
            layers.LSTM(3, return_sequences=True, name="f"),
            backward_layer=layers.GRU(2, return_sequences=True, go_backwards=True, name="b"), name="both"),
    )  # fmt: skip
    found["float64"] = lambda: Sequential(
        [layers.InputLayer((None, FEATURES), dtype="float64", name="x"), layers.GRU(WIDTH, dtype="float64", name="gru"),
         layers.Dense(2, dtype="float64", activation="hard_sigmoid", name="d")], name="model",
    )  # fmt: skip
    return found


def _states() -> Any:
    x = Input((None, FEATURES), name="x")
    h, c = Input((WIDTH,), name="h"), Input((WIDTH,), name="c")
    masked = layers.Masking(name="masking")(x)
    y, h1, c1 = layers.LSTM(WIDTH, return_state=True, name="lstm")(masked, initial_state=[h, c])
    again = layers.GRU(WIDTH, return_sequences=True, name="gru")(masked, initial_state=h1)
    return Model([x, h, c], [y, h1, c1, again], name="model")


def _both_states() -> Any:
    x = Input((None, FEATURES), name="x")
    h, c = Input((WIDTH,), name="h"), Input((WIDTH,), name="c")
    both = layers.Bidirectional(
        layers.LSTM(WIDTH, return_state=True, return_sequences=True, name="lstm"), merge_mode=None, name="both"
    )
    return Model([x, h, c], both(x, initial_state=[h, c, c, h]), name="model")


def _merges() -> Any:
    x = Input((None, FEATURES), name="x")
    masked = layers.Masking(name="masking")(x)
    dense = layers.Dense(FEATURES, name="shared")
    a, b = dense(masked), dense(dense(x))
    c = layers.Dense(FEATURES, activation="tanh", name="c")(masked)
    parts = [layers.Add(name="add")([a, c]), layers.Multiply(name="mul")([a, b]), layers.Average(name="ave")([a, b, c])]
    side = layers.Concatenate(name="side")(parts)
    behind = layers.Concatenate(axis=1, name="behind")([side, side])
    return Model(x, [layers.GRU(WIDTH, name="gru")(side), layers.LSTM(WIDTH, name="lstm")(behind), side], name="model")


def _nested() -> Any:
    inner = Sequential([layers.InputLayer((None, FEATURES), name="in"),
                        layers.GRU(WIDTH, return_sequences=True, name="g"),
                        layers.Dense(FEATURES, name="d")], name="inner")  # fmt: skip
    x = Input((None, FEATURES), name="x")
    return Model(x, [layers.LSTM(WIDTH, name="lstm")(inner(inner(x))), x], name="model")


MODELS: dict[str, Maker] = {
    **_recurrent_models(), **_layer_models(), "states": _states, "both_states": _both_states, "merges": _merges,
    "nested": _nested,
}  # fmt: skip


def made(name: str) -> Any:
    """A model with random weights, without symmetries."""
    model = MODELS[name]()
    random = np.random.default_rng(sum(map(ord, name)))
    weights = [random.normal(0, 0.2, weight.shape) for weight in model.weights]
    for k, weight in enumerate(model.weights):
        if weight.name == "moving_variance":
            weights[k] = np.abs(weights[k]) + 0.3
    model.set_weights(weights)
    return model


def inputs_of(model: Any, batch: int = 3, timesteps: int = 7, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Arrays for a model; with padding before, between and behind valid steps, and a row without any."""
    random = np.random.default_rng(seed)
    found = []
    for tensor in model.inputs:
        shape = [batch if k == 0 else timesteps if n is None else n for k, n in enumerate(tensor.shape)]
        if np.dtype(tensor.dtype).kind == "i":
            array = random.integers(1, 9, shape).astype(tensor.dtype)
            if array.ndim > 2:
                array[:, 1::2, 2:] = 0  # shorter sentences
        else:
            array = random.normal(size=shape).astype(tensor.dtype)
        if tensor.shape[1:2] == (None,) and timesteps > 3:
            array[0, -2:] = 0
            array[1:2, [0, 2]] = 0
            array[2:] = 0
        found.append(array)
    return found
