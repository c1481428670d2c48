"""Files for Keras: the same model comes back, what Keras does not know is refused by name."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats import keras
from rnnx.saving import FormatError

from ...golden.keras_models import MODELS, inputs_of


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name, tmp_path):
    model = MODELS[name]()
    x = inputs_of(model, name)
    given = x if model.several_inputs else x[0]
    model.save(tmp_path / "m.keras")
    again = rnnx.load_model(tmp_path / "m.keras")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    if name != "noisy":
        outputs = [made.predict(given, verbose=0) for made in (model, again)]
        for a, b in zip(*(y if isinstance(y, list) else [y] for y in outputs), strict=True):
            np.testing.assert_array_equal(a, b)
    model.save_weights(tmp_path / "m.weights.h5")
    again.set_weights([np.zeros_like(w) for w in again.get_weights()])
    again.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_names_and_options_survive(tmp_path):
    model = rnnx.Sequential(
        [
            rnnx.Input((None, 3)),
            layers.GRU(4, dropout=0.2, recurrent_dropout=0.1, seed=5, name="mine", trainable=False),
            layers.Dense(2, kernel_regularizer=rnnx.regularizers.L1L2(l1=0.1, l2=0.2), activation="relu"),
        ],
        name="whole",
    )
    model.save(tmp_path / "m.keras")
    again = rnnx.load_model(tmp_path / "m.keras")
    assert again.to_json() == model.to_json()
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        assert json.loads(archive.read("config.json"))["class_name"] == "Sequential"


def test_features_before_the_steps_survive(tmp_path):
    first = {"data_format": "channels_first"}
    windows = [layers.MaxPooling1D(2, **first), layers.AveragePooling1D(3, **first)]
    whole = [layers.GlobalMaxPooling1D(**first), layers.GlobalAveragePooling1D(keepdims=True, **first)]
    for layer in [*windows, *whole, layers.Flatten(**first)]:
        model = rnnx.Sequential([rnnx.Input((3, 6)), layer])
        model.save(tmp_path / "m.keras")
        again, x = rnnx.load_model(tmp_path / "m.keras"), np.random.default_rng(3).normal(size=(2, 3, 6))
        assert again.to_json() == model.to_json()
        np.testing.assert_array_equal(again(x), model(x))
        with zipfile.ZipFile(tmp_path / "m.keras") as archive:
            written = json.loads(archive.read("config.json"))["config"]["layers"][-1]["config"]
        assert written["data_format"] == "channels_first"


class Doubled(layers.Layer):
    def forward(self, x, *, mask=None, training=False, keep=False, **call):
        return 2 * x, (lambda dy, need_dx=True: None) if keep else None


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: layers.LSTM(2, dropout=0.5, noise_shape=(1, 1, None)), "noise_shape"),
        (lambda: layers.GRU(2, recurrent_dropout=0.5, recurrent_noise_shape=(1, 1, None)), "recurrent_noise_shape"),
        (lambda: layers.LSTM(2, recurrent_dropout=0.5, recurrent_dropout_mode="update"), "recurrent_dropout_mode"),
        (lambda: layers.LSTM(2, dropout=0.5, dropout_gates="per_gate"), "dropout_gates"),
        (lambda: layers.LSTM(2, zoneout=0.1), "zoneout"),
        (lambda: layers.GRU(2, weight_noise="int8"), "weight_noise='int8'"),
        (lambda: layers.Bidirectional(layers.LSTM(2, zoneout=0.1)), "zoneout"),
        (lambda: layers.LSTM(2, activation="hard_sigmoid_keras2"), "clip"),
        (lambda: layers.TimeDistributed(Doubled()), "Doubled"),
        (lambda: Doubled(), "Doubled"),
        (lambda: layers.Dense(2, activation=np.tanh), "tanh"),
    ],
)
def test_refused_by_name(layer, words, tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), layer()])
    with pytest.raises(FormatError, match=words) as caught:
        model.save(tmp_path / "m.keras")
    assert str(tmp_path / "m.keras") in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_refusals(tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2)])
    with pytest.raises(FormatError, match=r"written for Keras as \.keras, or \.h5 files"):
        model.save(tmp_path / "m.json")
    with pytest.raises(FormatError, match=r"written for Keras as \.weights\.h5 or \.h5 files"):
        model.save_weights(tmp_path / "m.keras")
    with pytest.raises(FormatError, match="not compiled"):
        model.save(tmp_path / "m.keras", include_optimizer=True)
    with pytest.raises(FormatError, match="not built"):
        rnnx.Sequential([layers.LSTM(2)]).save(tmp_path / "m.keras")
    with pytest.raises(FormatError, match="not built"):
        rnnx.Sequential([layers.LSTM(2)]).save_weights(tmp_path / "m.weights.h5")
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "m.keras")
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "m.keras", overwrite=False)


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2), layers.Dense(3)]).save(tmp_path / "m.keras")
    other = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2), layers.Dense(4)])
    before = other.get_weights()
    with pytest.raises(FormatError, match=r"\(2, 4\)"):
        other.load_weights(tmp_path / "m.keras")
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_compiled_as_it_was(tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2)])
    model.save(tmp_path / "m.keras")
    config = {
        "optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.01, "weight_decay": None}},
        "loss": "mse",
        "metrics": ["mae", "unheard"],
    }
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = json.dumps({**json.loads(parts["config.json"]), "compile_config": config}).encode()
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.warns(UserWarning, match="metric"):
        again = rnnx.load_model(tmp_path / "n.keras")
    assert again.optimizer.learning_rate == pytest.approx(0.01)
    assert again.fit(np.ones((4, 5, 3)), np.ones((4, 2)), verbose=0).history["loss"]
    assert rnnx.load_model(tmp_path / "n.keras", compile=False).optimizer is None
    assert keras.describe(tmp_path / "n.keras")["compiled"] == "yes"


class Turned(layers.LSTM):
    """Reads backwards and gives its outputs forwards."""

    def __init__(self, units, **options):
        super().__init__(units, **{**options, "go_backwards": True})

    def forward(self, x, **call):
        y, back = super().forward(x, **call)
        return y[:, ::-1], back


def test_classes_of_ones_own(tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2, return_sequences=True, name="lstm")])
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"class_name": "LSTM"', b'"class_name": "pack>Reversed"')
    with io.BytesIO(parts["model.weights.h5"]) as file:
        with h5py.File(file, "r+") as weights:
            weights.move("layers/lstm", "layers/reversed")
        parts["model.weights.h5"] = file.getvalue()
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(FormatError, match="custom_objects"):
        rnnx.load_model(tmp_path / "n.keras")
    with pytest.raises(FormatError, match="subclasses"):
        rnnx.load_model(tmp_path / "n.keras", custom_objects={"Reversed": int})
    again = rnnx.load_model(tmp_path / "n.keras", custom_objects={"Reversed": Turned})
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), model(x[:, ::-1])[:, ::-1])


def test_weights_under_the_names_of_tensorflow_2_12(tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2), layers.Dense(2)])
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    other = rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(2), layers.Dense(2)])
    other.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_and_compressed_arrays(tmp_path):
    model = rnnx.Sequential([rnnx.Input((5, 3)), layers.Dense(2)])
    model.save_weights(tmp_path / "m.weights.h5")
    kernel = np.array([[1.5, -2.0], [0.25, 3.0], [0.0, -0.5]], "float32")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        place = file["layers/dense/vars"]
        del place["0"], place["1"]
        place.create_dataset("0", data=(kernel.view(np.uint32) >> 16).astype(np.uint16).view("V2"))
        place["0"].attrs["dtype"] = "bfloat16"
        place.create_dataset("1", data=[1, 2], dtype=">f8", chunks=(1,), compression="gzip", shuffle=True)
    model.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(model.get_weights()[0], kernel)
    np.testing.assert_array_equal(model.get_weights()[1], [1, 2])


@pytest.mark.parametrize("value", [2.5, -np.inf])
def test_padding_with_a_value(value, tmp_path):
    """As Keras 3 writes it: an argument of the call, by its name."""
    entry = layers.Input((4, 3))
    model = rnnx.Model(entry, rnnx.ops.pad(entry, [(0, 0), (1, 2), (0, 0)], constant_values=value))
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))["config"]
    (node,) = config["layers"][1]["inbound_nodes"]
    assert node["kwargs"] == {"constant_values": value} and len(node["args"]) == 1
    y = rnnx.load_model(tmp_path / "m.keras").predict(np.zeros((2, 4, 3), "f"), verbose=0)
    assert y.shape == (2, 7, 3)
    assert (y[:, [0, 5, 6]] == value).all() and (y[:, 1:5] == 0).all()
