"""Model files of Keras 3 and tf_keras with the outputs these gave, for `tests/formats/keras/test_golden.py`.

They lie in ``keras_files``, beside those of `make_keras_old` and `make_sleepecg`.

Commands, each in an environment with that framework (``pip install keras==3.15.1 jax==0.10.2``,
``pip install tf_keras==2.21.0 tensorflow-cpu==2.21.0``)::

    KERAS_BACKEND=jax python -m tests.golden.make_keras_files keras
    python -m tests.golden.make_keras_files tf_keras
"""

import importlib
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.golden.store import DATA

from .keras_archive import pack

ROWS = 4000  # of models that draw masks: enough for mean and deviation
RNG = np.random.default_rng(0)


def chain(keras, *layers, shape=(7, 3), **options):
    return keras.Sequential([keras.Input(shape, **options), *layers])


def recurrent(keras):
    """Every recurrent layer with every option."""
    L, made = keras.layers, {}
    for cls in (L.LSTM, L.GRU, L.SimpleRNN):
        name = cls.__name__.lower()
        made[name] = chain(keras, cls(5))
        made[f"{name}_stack"] = chain(
            keras,
            cls(5, return_sequences=True),
            cls(4, dropout=0.2, recurrent_dropout=0.3),
            L.Dense(2, activation="softmax"),
        )
        made[f"{name}_options"] = chain(
            keras,
            cls(
                1,
                activation="relu",
                use_bias=False,
                go_backwards=True,
                unroll=True,
                return_sequences=True,
                kernel_regularizer="l2",
                recurrent_constraint="max_norm",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.1),
            ),
        )
        for mode in ("concat", "sum", "mul", "ave"):
            made[f"{name}_{mode}"] = chain(
                keras,
                L.Masking(),
                L.Bidirectional(cls(4, return_sequences=True), merge_mode=mode),
                L.Bidirectional(cls(3), merge_mode=mode),
            )
        x = keras.Input((7, 3))
        made[f"{name}_none"] = keras.Model(x, L.Bidirectional(cls(4), merge_mode=None)(x))
        x = keras.Input((7, 3))
        both = L.Bidirectional(cls(4, return_state=True, return_sequences=True))
        made[f"{name}_states"] = keras.Model(x, both(x))
    made["gru_reset_before"] = chain(keras, L.GRU(5, reset_after=False))
    made["hard_sigmoid"] = chain(
        keras, L.LSTM(5, recurrent_activation="hard_sigmoid"), L.Dense(3, activation="hard_sigmoid")
    )
    made["backward_layer"] = chain(keras, L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(3, go_backwards=True)))
    made["cells"] = chain(keras, L.RNN([L.LSTMCell(4), L.GRUCell(3), L.LSTMCell(2)], return_sequences=True))
    made["one_cell"] = chain(keras, L.RNN(L.GRUCell(3)))
    made["both_cells"] = chain(keras, L.Bidirectional(L.RNN([L.LSTMCell(4), L.SimpleRNNCell(2)])))
    made["stateful"] = chain(keras, L.LSTM(3, stateful=True), batch_size=2)
    return made


def others(keras):
    """Every other layer, and models that are not chains."""
    L, made = keras.layers, {}
    made["ids"] = chain(
        keras, L.Embedding(9, 4, mask_zero=True), L.LSTM(3, return_sequences=True), L.GRU(3), shape=(7,), dtype="int32"
    )
    ids = keras.Input((None,), dtype="int32")
    table = L.Embedding(9, 4, mask_zero=True)(ids)
    joined = L.Concatenate()([L.LSTM(3, return_sequences=True)(table), L.GRU(2, return_sequences=True)(table)])
    made["ids_branches"] = keras.Model(ids, L.Bidirectional(L.LSTM(2))(joined))
    made["each_step"] = chain(
        keras,
        L.TimeDistributed(L.Dense(4, activation="tanh")),
        L.TimeDistributed(L.BatchNormalization()),
        L.GlobalAveragePooling1D(),
    )
    made["convolution"] = chain(
        keras,
        L.Conv1D(4, 3, padding="causal", dilation_rate=2),
        L.BatchNormalization(),
        L.ReLU(negative_slope=0.1),
        L.LeakyReLU(),
        L.MaxPooling1D(2),
        L.AveragePooling1D(2, padding="same"),
        L.LayerNormalization(),
        L.GlobalMaxPooling1D(),
        L.Softmax(),
    )
    made["convolution"].compile("adam", "mse", metrics=["mae"])
    made["shapes_and_noise"] = chain(
        keras,
        L.Permute((2, 1)),
        L.Reshape((7, 3)),
        L.Flatten(),
        L.RepeatVector(3),
        L.Dropout(0.3, noise_shape=(None, 1, None)),
        L.SpatialDropout1D(0.2),
        L.GaussianDropout(0.1),
        L.AlphaDropout(0.1),
        L.Activation("elu"),
        L.LSTM(2),
    )
    source, target = keras.Input((None, 3), name="source"), keras.Input((None, 2), name="target")
    _, h, c = L.LSTM(4, return_state=True)(source)
    y = L.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
    made["encoder_decoder"] = keras.Model([source, target], [L.TimeDistributed(L.Dense(3))(y), h])
    x = keras.Input((7, 3))
    shared = L.GRU(4, return_sequences=True)
    p = shared(x)
    q = shared(L.Dense(3)(p))
    merged = L.Concatenate()([L.Add()([p, q]), L.Multiply()([p, q]), L.Average()([p, q])])
    made["shared"] = keras.Model(x, merged)
    inner = chain(keras, L.GRU(4, return_sequences=True), L.BatchNormalization(), L.Dense(2))
    x = keras.Input((7, 3))
    made["nested"] = keras.Model(x, L.LSTM(3)(inner(x)))
    row = keras.Input((3,))
    per_step = keras.Model(row, L.Dense(2)(L.BatchNormalization()(L.Dense(4)(row))))
    made["model_each_step"] = chain(keras, L.TimeDistributed(per_step), L.GRU(2))
    frozen = chain(keras, L.GRU(4, return_sequences=True), L.Dense(2))
    frozen.layers[0].trainable = False
    made["frozen"] = chain(keras, frozen, L.LSTM(2))
    x = keras.Input((7, 3))
    late = L.LSTM(4, name="late")(x)
    early = L.LSTM(3, name="second")(L.LSTM(3, return_sequences=True, name="first")(x))
    made["branches"] = keras.Model(x, L.Concatenate()([L.Dense(2)(early), late]))
    built = keras.Sequential([L.LSTM(3, return_sequences=True), L.Dense(2)])
    built.build((None, 7, 3))
    made["without_input"] = built
    return made


def noisy(keras):
    """Models whose layers were called with ``training=True``: their masks are on in every call."""
    L, made = keras.layers, {}
    for cls in (L.LSTM, L.GRU, L.SimpleRNN):
        for recurrent in (0.0, 0.4):
            x = keras.Input((5, 3))
            layer = cls(2, dropout=0.5, recurrent_dropout=recurrent, return_sequences=True)
            made[f"noisy_{cls.__name__.lower()}{'_recurrent' if recurrent else ''}"] = keras.Model(
                x, layer(x, training=True)
            )
    x = keras.Input((5, 3))
    made["noisy_dropout"] = keras.Model(x, L.Dropout(0.4, noise_shape=(None, 1, None))(x, training=True))
    return made


def arithmetic(keras):
    """Tensors that are added and scaled; what comes out has no mask."""
    ops = importlib.import_module("tensorflow") if keras.__name__ == "tf_keras" else keras.ops
    L, made = keras.layers, {}
    x = keras.Input((7, 3))
    gate, y = L.Dense(3, activation="sigmoid")(x), L.GRU(3, return_sequences=True)(x)
    mixed = -(gate * x + (1 - gate) * y) / 2 + x / (2 + gate) - 0.25
    made["arithmetic"] = keras.Model(x, L.LSTM(2)(ops.maximum(mixed, ops.minimum(x, y))))
    x = keras.Input((7, 3))
    masked = L.Masking()(x)
    both = [L.GRU(3, return_sequences=True)(masked) for _ in range(2)]
    made["arithmetic_masked"] = keras.Model(x, [L.LSTM(2)(both[0] + both[1]), L.LSTM(2)(L.Add()(both))])
    return made


def values(weight):
    if "variance" in weight.name:
        return RNG.uniform(0.3, 0.9, weight.shape).astype("float32")
    return (0.4 * RNG.normal(size=weight.shape)).astype("float32")


def inputs(name, model):
    made = []
    for tensor in model.inputs or [np.zeros((2, 7, 3))]:
        shape = [2, *(7 if n is None else n for n in list(tensor.shape)[1:])]
        if name.startswith("ids"):
            x = RNG.integers(1, 9, shape).astype("int32")
            x[0, 5:] = x[1, :2] = x[1, 4] = 0
        else:
            x = RNG.normal(size=shape).astype("float32")
            if name.endswith(("concat", "sum", "mul", "ave", "masked")):
                x[0, 4:] = x[1, :2] = x[1, 4] = 0
        made.append(x)
    return made


def write(keras, folder, name, model, k):
    """Files of a model, what went in and what came out."""
    model.set_weights([values(weight) for weight in model.weights if "seed" not in weight.name])
    if name.startswith("noisy"):
        x = [np.ones((ROWS, 5, 3), "float32")]
        y = np.asarray(model(x[0]))
        outputs = [y.mean(axis=0), y.std(axis=0), np.array(float(np.ptp(y, axis=1).mean()))]
    else:
        x = inputs(name, model)
        y = model(x if len(x) > 1 else x[0])
        outputs = [np.asarray(part) for part in (y if isinstance(y, (list, tuple)) else [y])]
    arrays = {f"x{i}": part for i, part in enumerate(x)} if not name.startswith("noisy") else {}
    np.savez(folder / f"{name}.npz", **arrays, **{f"y{i}": part for i, part in enumerate(outputs)})
    model.save(folder / f"{name}{('.keras', '.h5')[k % 2]}")
    if k % 3 == 0:
        model.save(folder / f"{name}{('.h5', '.keras')[k % 2]}")
    if k % 3 == 1:
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}.weights.h5")
    if k % 3 == 2 and keras.__name__ == "tf_keras":
        (folder / f"{name}.json").write_text(model.to_json())
        model.save_weights(folder / f"{name}.list.h5")


def main(framework):
    keras = importlib.import_module(framework)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {**recurrent(keras), **others(keras), **noisy(keras), **arithmetic(keras)}
        for k, (name, model) in enumerate(made.items()):
            write(keras, folder, name, model, k)
        for path in sorted(folder.glob("*.keras")):  # the framework itself opens them
            keras.models.load_model(path)
        pack(folder, DATA / "keras_files" / f"{framework}.tar.xz")


if __name__ == "__main__":
    main(sys.argv[1])
