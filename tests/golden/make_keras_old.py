"""Model files of Keras 1 and 2 before tf.keras, as these wrote them, for `tests/formats/keras/test_golden.py`.

No Python of today runs those versions, so the files are written by h5py after their sources (tags 1.2.2, 2.0.9, 2.2.4,
2.3.1; TensorFlow 1.15 for ``-tf``), and the outputs come from their equations, in plain NumPy and float64.

Command: ``python -m tests.golden.make_keras_old``
"""

import json
import tempfile
from pathlib import Path

import h5py
import numpy as np

from tests.golden.store import DATA

from .keras_archive import pack

RNG = np.random.default_rng(1)
T, F, U = 6, 3, 4


def array(*shape):
    return (0.5 * RNG.normal(size=shape)).astype("float32")


# ---- Equations ------------------------------------------------------------------------------------------------------


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, kernel, recurrent, bias, gate=hard_sigmoid, h=None, c=None, mask=None):
    """All outputs and the final states; gates i f c o."""
    units = recurrent.shape[0]
    h = np.zeros((len(x), units)) if h is None else h
    c = np.zeros((len(x), units)) if c is None else c
    outputs, y = [], np.zeros((len(x), units))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        new_c = gate(f) * c + gate(i) * np.tanh(g)
        new_h = gate(o) * np.tanh(new_c)
        keep = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        h, c, y = np.where(keep, new_h, h), np.where(keep, new_c, c), np.where(keep, new_h, y)
        outputs.append(y)
    return np.stack(outputs, axis=1), h, c


def gru(x, kernel, recurrent, bias, gate=hard_sigmoid, mask=None):
    """All outputs; gates z r h; two rows of bias mean that the reset gate is applied after the product."""
    units = recurrent.shape[0]
    h, outputs = np.zeros((len(x), units)), []
    inner, outer = (bias[0], bias[1]) if bias.ndim == 2 else (bias, np.zeros(3 * units))
    for t in range(x.shape[1]):
        xz, xr, xh = np.split(x[:, t] @ kernel + inner, 3, axis=1)
        hz, hr, hh = np.split(h @ recurrent + outer, 3, axis=1)
        z, r = gate(xz + hz), gate(xr + hr)
        if bias.ndim == 1:
            hh = (r * h) @ recurrent[:, 2 * units :]
            new = np.tanh(xh + hh)
        else:
            new = np.tanh(xh + r * hh)
        h = z * h + (1 - z) * new
        outputs.append(h)
    return np.stack(outputs, axis=1)


def simple_rnn(x, kernel, recurrent, bias):
    h, outputs = np.zeros((len(x), recurrent.shape[0])), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + h @ recurrent + bias)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def convolution(x, kernel, bias):
    steps = x.shape[1] - len(kernel) + 1
    parts = [np.tensordot(x[:, t : t + len(kernel)], kernel, ([1, 2], [0, 1])) for t in range(steps)]
    return np.stack(parts, axis=1) + bias


# ---- Arrays as older layouts have them ------------------------------------------------------------------------------


def by_gate(kernel, recurrent, bias, order):
    """W, U, b of each gate, as Keras 1 keeps them: i c f o, or z r h."""
    parts = [np.split(part, len(order), axis=-1) for part in (kernel, recurrent, bias)]
    return [part[k] for k in order for part in parts]


def cudnn(kernel, recurrent, biases):
    """CuDNN's layout: each block of the kernel as the matrix (units, features) in its memory, two biases in one row."""
    gates = recurrent.shape[1] // recurrent.shape[0]
    blocks = [np.ascontiguousarray(b.T).reshape(b.shape) for b in np.split(kernel, gates, axis=1)]
    return [
        np.hstack(blocks),
        np.hstack([b.T for b in np.split(recurrent, gates, axis=1)]),
        np.concatenate(biases),
    ]


# ---- Files ----------------------------------------------------------------------------------------------------------


def write_weights(group, layers, split=False):
    names = [name for name, _ in layers]
    group.attrs["layer_names"] = np.array([name.encode() for name in names])
    for name, arrays in layers:
        own = group.create_group(name)
        words = [f"{name}/w{k}:0" for k in range(len(arrays))]
        if split and len(words) > 1:
            own.attrs["weight_names0"] = np.array([words[0].encode()])
            own.attrs["weight_names1"] = np.array([word.encode() for word in words[1:]])
        else:
            own.attrs["weight_names"] = np.array([word.encode() for word in words])
        for word, value in zip(words, arrays, strict=True):
            own[word] = value


def write(folder, name, config, layers, x, y, *, version=None, backend=None, weights_alone=False, **options):
    """A model file, or JSON and weights."""
    x = x if isinstance(x, list) else [x]
    y = y if isinstance(y, list) else [y]
    arrays = {f"x{k}": part for k, part in enumerate(x)}
    arrays.update({f"y{k}": part.astype("float32") for k, part in enumerate(y)})
    np.savez(folder / f"{name}.npz", **arrays)
    with h5py.File(folder / f"{name}{'.list.h5' if weights_alone else '.h5'}", "w") as file:
        if weights_alone:
            text = json.dumps({**config, "keras_version": version} if version else config)
            (folder / f"{name}.json").write_text(text)
            group = file
        else:
            file.attrs["model_config"] = json.dumps(config).encode()
            group = file.create_group("model_weights")
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        if backend is not None:
            file.attrs["backend"] = backend.encode()
        write_weights(group, layers, **options)


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, "trainable": True, **config}}


def sequential(*layers, plain=True):
    config = list(layers) if plain else {"name": "sequential_1", "layers": list(layers)}
    return {"class_name": "Sequential", "config": config}


FIRST = {"batch_input_shape": [None, T, F]}
KERAS1 = {
    "init": "glorot_uniform", "inner_init": "orthogonal", "W_regularizer": None, "U_regularizer": None,
    "b_regularizer": None, "activation": "tanh", "inner_activation": "hard_sigmoid", "return_sequences": False,
    "go_backwards": False, "stateful": False, "unroll": False, "consume_less": "cpu", "dropout_W": 0.0,
    "dropout_U": 0.0, "input_dim": F, "input_length": None,
}  # fmt: skip
DENSE1 = {
    "output_dim": 2, "init": "glorot_uniform", "activation": "linear", "W_regularizer": None, "b_regularizer": None,
    "activity_regularizer": None, "W_constraint": None, "b_constraint": None, "bias": True, "input_dim": U,
}  # fmt: skip
KERAS2 = {
    "activation": "tanh", "recurrent_activation": "hard_sigmoid", "use_bias": True, "return_sequences": False,
    "return_state": False, "go_backwards": False, "stateful": False, "unroll": False, "dropout": 0.0,
    "recurrent_dropout": 0.0, "implementation": 1, "activity_regularizer": None,
    "kernel_initializer": {"class_name": "VarianceScaling",
                           "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}},
    "recurrent_initializer": {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
    "bias_initializer": {"class_name": "Zeros", "config": {}},
}  # fmt: skip
CUDNN = {"return_sequences": False, "return_state": False, "go_backwards": False, "stateful": False}


def lstm_weights(features=F):
    return array(features, 4 * U), array(U, 4 * U), array(4 * U)


def gru_weights(after=False):
    return array(F, 3 * U), array(U, 3 * U), array(2, 3 * U) if after else array(3 * U)


def keras1(folder):
    x = array(2, T, F)
    k, r, b = lstm_weights()
    y = lstm(x, k, r, b)[0]
    one = layer("LSTM", "lstm_1", output_dim=U, forget_bias_init="one", **{**KERAS1, **FIRST})
    icfo = by_gate(k, r, b, (0, 2, 1, 3))
    write(folder, "k1_lstm", sequential(one), [("lstm_1", icfo)], x, y[:, -1])
    write(folder, "k1_lstm_version", sequential(one), [("lstm_1", icfo)], x, y[:, -1], version="1.2.2")
    write(folder, "k1_lstm_gpu", sequential(one), [("lstm_1", [k, r, b])], x, y[:, -1], version="1.2.1")
    write(folder, "k1_lstm_parts", sequential(one), [("lstm_1", icfo)], x, y[:, -1], weights_alone=True)
    gk, gr, gb = gru_weights()
    one = layer("GRU", "gru_1", output_dim=U, **{**KERAS1, **FIRST})
    y = gru(x, gk, gr, gb)
    write(folder, "k1_gru", sequential(one), [("gru_1", by_gate(gk, gr, gb, (0, 1, 2)))], x, y[:, -1])
    sk, sr, sb = array(F, U), array(U, U), array(U)
    simple = {word: value for word, value in KERAS1.items() if word != "inner_activation"}
    one = layer("SimpleRNN", "rnn", output_dim=U, **{**simple, **FIRST, "return_sequences": True})
    write(folder, "k1_simple", sequential(one), [("rnn", [sk, sr, sb])], x, simple_rnn(x, sk, sr, sb))
    k2, r2, b2 = lstm_weights(U)
    d, db = array(U, 2), array(2)
    penalty = {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}
    noisy = {**KERAS1, "dropout_W": 0.2, "dropout_U": 0.3, "return_sequences": True, "W_regularizer": penalty}
    stack = sequential(
        layer("LSTM", "a", output_dim=U, forget_bias_init="one", **{**noisy, **FIRST}),
        layer("Dropout", "drop", p=0.4),
        layer("LSTM", "b", output_dim=U, forget_bias_init="one", **{**noisy, "return_sequences": True}),
        layer("TimeDistributed", "each", layer=layer("Dense", "dense", **DENSE1)),
        layer("Activation", "act", activation="hard_sigmoid"),
    )
    first = lstm(x, k, r, b)[0]
    second = lstm(first, k2, r2, b2)[0]
    lists = [("a", icfo), ("drop", []), ("b", by_gate(k2, r2, b2, (0, 2, 1, 3))), ("each", [d, db]), ("act", [])]
    write(folder, "k1_stack", stack, lists, x, hard_sigmoid(second @ d + db))
    table = array(7, F)
    ids = RNG.integers(1, 7, (2, T)).astype("int32")
    ids[0, 4:] = 0
    words = {"input_dim": 7, "output_dim": F, "init": "uniform", "input_length": T, "mask_zero": True,
             "activity_regularizer": None, "W_regularizer": None, "W_constraint": None, "dropout": 0.0,
             "batch_input_shape": [None, T], "input_dtype": "int32"}  # fmt: skip
    model = sequential(layer("Embedding", "words", **words), layer("LSTM", "l", output_dim=U, **KERAS1))
    _, h, _ = lstm(table[ids], k, r, b, mask=ids != 0)
    write(folder, "k1_words", model, [("words", [table]), ("l", icfo)], ids, h)
    inner = layer("LSTM", "l", output_dim=U, forget_bias_init="one", **{**KERAS1, "return_sequences": True})
    back = lstm_weights()
    both = sequential(layer("Bidirectional", "both", layer=inner, merge_mode="concat", **FIRST))
    y = np.concatenate([lstm(x, k, r, b)[0], lstm(x[:, ::-1], *back)[0][:, ::-1]], axis=-1)
    write(folder, "k1_both", both, [("both", icfo + by_gate(*back, (0, 2, 1, 3)))], x, y)
    w, wb = array(3, 1, F, 5), array(5)
    conv = {"nb_filter": 5, "filter_length": 3, "init": "glorot_uniform", "activation": "relu", "border_mode": "valid",
            "subsample_length": 1, "W_regularizer": None, "b_regularizer": None, "activity_regularizer": None,
            "W_constraint": None, "b_constraint": None, "bias": True, "input_dim": F, "input_length": None}  # fmt: skip
    model = sequential(
        layer("Convolution1D", "conv", **{**conv, **FIRST}),
        layer("MaxPooling1D", "pool", pool_length=2, stride=2, border_mode="valid"),
        layer("Flatten", "flat"),
    )
    y = np.maximum(convolution(x, w[:, 0], wb), 0).reshape(2, 2, 2, 5).max(axis=2).reshape(2, -1)
    write(folder, "k1_convolution", model, [("conv", [w, wb])], x, y)
    write(folder, "k1_convolution_theano", model, [("conv", [w[::-1], wb])], x, y, version="1.2.2", backend="theano")
    source = {"class_name": "InputLayer", "name": "in",
              "config": {"batch_input_shape": [None, T, F], "input_dtype": "float32", "sparse": False, "name": "in"},
              "inbound_nodes": []}  # fmt: skip
    graph = {"name": "model_1", "input_layers": [["in", 0, 0]], "output_layers": [["join", 0, 0]], "layers": [
        source,
        {**layer("LSTM", "l", output_dim=U, forget_bias_init="one", **KERAS1), "name": "l",
         "inbound_nodes": [[["in", 0, 0]]]},
        {**layer("GRU", "g", output_dim=U, **KERAS1), "name": "g", "inbound_nodes": [[["in", 0, 0]]]},
        {**layer("Merge", "join", mode="concat", concat_axis=-1, mode_type="raw", dot_axes=-1, output_shape=None),
         "name": "join", "inbound_nodes": [[["l", 0, 0], ["g", 0, 0]]]},
    ]}  # fmt: skip
    y = np.concatenate([lstm(x, k, r, b)[0][:, -1], gru(x, gk, gr, gb)[:, -1]], axis=-1)
    lists = [("in", []), ("l", icfo), ("g", by_gate(gk, gr, gb, (0, 1, 2))), ("join", [])]
    write(folder, "k1_graph", {"class_name": "Model", "config": graph}, lists, x, y)


def keras2(folder):
    x = array(2, T, F)
    k, r, b = lstm_weights()
    one = layer("LSTM", "lstm_1", units=U, unit_forget_bias=True, **{**KERAS2, **FIRST, "dtype": "float32"})
    last = lstm(x, k, r, b)[0][:, -1]
    for version in ("2.0.9", "2.1.6", "2.2.2"):
        write(folder, f"k2_lstm_{version.replace('.', '_')}", sequential(one), [("lstm_1", [k, r, b])], x, last,
              version=version, backend="tensorflow")  # fmt: skip
    write(folder, "k2_lstm_2_2_4", sequential(one, plain=False), [("lstm_1", [k, r, b])], x, last, version="2.2.4",
          split=True)  # fmt: skip
    new = {**KERAS2, **FIRST, "implementation": 2, "recurrent_activation": "sigmoid", "recurrent_dropout": 0.2}
    one = layer("LSTM", "lstm_1", units=U, unit_forget_bias=True, **new)
    y = lstm(x, k, r, b, sigmoid)[0][:, -1]
    write(folder, "k2_lstm_2_3_1", sequential(one, plain=False), [("lstm_1", [k, r, b])], x, y, version="2.3.1")
    for after in (False, True):
        weights = gru_weights(after)
        one = layer("GRU", "gru_1", units=U, reset_after=after, **{**KERAS2, **FIRST})
        write(folder, f"k2_gru_{'after' if after else 'before'}", sequential(one, plain=False),
              [("gru_1", list(weights))], x, gru(x, *weights)[:, -1], version="2.2.4")  # fmt: skip
    weights = gru_weights()
    one = layer("GRU", "gru_1", units=U, **{**KERAS2, **FIRST})  # before there was reset_after
    write(folder, "k2_gru_2_0_9", sequential(one), [("gru_1", list(weights))], x, gru(x, *weights)[:, -1],
          version="2.0.9")  # fmt: skip
    extra = array(4 * U)
    fused = layer("CuDNNLSTM", "fast", units=U, unit_forget_bias=True, **{**CUDNN, **FIRST})
    y = lstm(x, k, r, b + extra, sigmoid)[0][:, -1]
    write(folder, "k2_cudnn_lstm", sequential(fused, plain=False), [("fast", cudnn(k, r, (b, extra)))], x, y,
          version="2.2.4")  # fmt: skip
    plain = layer("LSTM", "slow", units=U, **{**KERAS2, **FIRST, "recurrent_activation": "sigmoid"})
    write(folder, "k2_cudnn_weights", sequential(plain, plain=False), [("fast", cudnn(k, r, (b, extra)))], x, y,
          version="2.2.4", weights_alone=True)  # fmt: skip
    gk, gr, gb = gru_weights(True)
    y = gru(x, gk, gr, gb, sigmoid)[:, -1]
    for version in ("2.2.4", "2.2.4-tf"):
        fused = layer("CuDNNGRU", "fast", units=U, **{**CUDNN, **FIRST})
        write(folder, f"k2_cudnn_gru{'_tf' if 'tf' in version else ''}", sequential(fused, plain=False),
              [("fast", cudnn(gk, gr, (gb[0], gb[1])))], x, y, version=version)  # fmt: skip
    inner = layer("CuDNNLSTM", "fast", units=U, unit_forget_bias=True, **{**CUDNN, "return_sequences": True})
    both = sequential(layer("Bidirectional", "both", layer=inner, merge_mode="sum", **FIRST), plain=False)
    back, more = lstm_weights(), array(4 * U)
    y = lstm(x, k, r, b + extra, sigmoid)[0]
    y = y + lstm(x[:, ::-1], back[0], back[1], back[2] + more, sigmoid)[0][:, ::-1]
    lists = [("both", cudnn(k, r, (b, extra)) + cudnn(back[0], back[1], (back[2], more)))]
    write(folder, "k2_cudnn_both", both, lists, x, y, version="2.2.4")
    w, wb = array(3, F, 5), array(5)
    conv = layer("Conv1D", "conv", filters=5, kernel_size=[3], strides=[1], padding="valid", dilation_rate=[1],
                 activation="linear", use_bias=True, data_format="channels_last", **FIRST)  # fmt: skip
    write(folder, "k2_convolution_theano", sequential(conv, plain=False), [("conv", [w[::-1], wb])], x,
          convolution(x, w, wb), version="2.1.6", backend="theano")  # fmt: skip
    masked_both(folder)
    encoder_decoder(folder)
    tf_of_tensorflow2(folder)


def masked_both(folder):
    """Steps without input repeat the output before them, in each direction."""
    x, mask = array(3, T, F), np.ones((3, T), bool)
    mask[0, 4:] = mask[1, :2] = mask[2, 2] = False
    x[~mask] = 0
    ahead, back = lstm_weights(), lstm_weights()
    inner = layer("LSTM", "lstm", units=U, **{**KERAS2, "return_sequences": True})
    both = layer("Bidirectional", "both", layer=inner, merge_mode="concat")
    model = sequential(layer("Masking", "gaps", mask_value=0.0, **FIRST), both, plain=False)
    turned = lstm(x[:, ::-1], *back, mask=mask[:, ::-1])[0][:, ::-1]
    y = np.concatenate([lstm(x, *ahead, mask=mask)[0], turned], axis=-1)
    write(folder, "k2_both_masked", model, [("gaps", []), ("both", [*ahead, *back])], x, y, version="2.2.4")


def encoder_decoder(folder):
    source, target = array(2, T, F), array(2, 4, F)
    first, second = lstm_weights(), lstm_weights()
    _, h, c = lstm(source, *first)
    y = lstm(target, *second, h=h, c=c)[0]

    def entry(name, inbound, **config):
        return {**layer("LSTM", name, units=U, **{**KERAS2, **config}), "name": name, "inbound_nodes": inbound}

    def start(name):
        config = {"batch_input_shape": [None, None, F], "dtype": "float32", "sparse": False, "name": name}
        return {"class_name": "InputLayer", "name": name, "config": config, "inbound_nodes": []}

    graph = {"name": "model_1", "input_layers": [["src", 0, 0], ["tgt", 0, 0]], "output_layers": [["dec", 0, 0]],
             "layers": [
        start("src"), start("tgt"), entry("enc", [[["src", 0, 0, {}]]], return_state=True),
        entry("dec", [[["tgt", 0, 0, {}], ["enc", 0, 1, {}], ["enc", 0, 2, {}]]], return_sequences=True),
    ]}  # fmt: skip
    lists = [("src", []), ("tgt", []), ("enc", list(first)), ("dec", list(second))]
    write(folder, "k2_encoder_decoder", {"class_name": "Model", "config": graph}, lists, [source, target], y,
          version="2.1.5")  # fmt: skip


def tf_of_tensorflow2(folder):
    x = array(2, T, F)
    weights = gru_weights(True)
    new = {**KERAS2, **FIRST, "implementation": 2, "recurrent_activation": "sigmoid", "time_major": False}
    one = layer("GRU", "gru", units=U, reset_after=True, **new)
    y = gru(x, *weights, sigmoid)[:, -1]
    write(folder, "tf20_gru", sequential(one, plain=False), [("gru", list(weights))], x, y, version="2.2.4-tf")
    k, r, b = lstm_weights()
    old = layer("LSTM", "lstm", units=U, **{**KERAS2, **FIRST, "time_major": False})
    write(folder, "tf1_lstm", sequential(old, plain=False), [("lstm", [k, r, b])], x, lstm(x, k, r, b)[0][:, -1],
          version="2.1.6-tf")  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        keras1(Path(name))
        keras2(Path(name))
        pack(Path(name), DATA / "keras_files" / "old.tar.xz")
