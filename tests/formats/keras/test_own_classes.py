"""Layers and models of one's own classes in ``.keras`` files, by the names they are registered under."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers, ops
from rnnx.saving import FormatError, register_keras_serializable

X = np.random.default_rng(0).normal(size=(3, 5, 3)).astype("float32")


@register_keras_serializable("own")
class GatedUnits(layers.Layer):
    """A layer with others inside, and one in a list."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.gate, self.rest = layers.Dense(units, activation="sigmoid"), [layers.Dense(units), layers.Dense(units)]

    def call(self, x: Any) -> Any:
        return self.gate(x) * self.rest[1](ops.tanh(self.rest[0](x)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@register_keras_serializable("own")
class Slow(layers.LSTM):
    """A layer of rnnx with one argument more."""

    def __init__(self, units: int, factor: float = 1.0, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return super().call(x * self.factor)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@register_keras_serializable("own")
class OwnLSTM(layers.LSTM):
    """A layer of rnnx under another name."""


@register_keras_serializable("own")
class Tagger(rnnx.Model):
    """A model without arguments but one, as tutorials write them."""

    def __init__(self, units: int = 4, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.rnn, self.gated, self.out = layers.GRU(units, return_sequences=True), GatedUnits(units), layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.gated(self.rnn(x)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@register_keras_serializable("own")
class Graph(rnnx.Model):
    """A functional model that is made by its class."""

    def __init__(self, units: int = 4, **kwargs: Any):
        inputs = rnnx.Input((None, 3))
        super().__init__(inputs, layers.Dense(2)(layers.LSTM(units)(inputs)), **kwargs)
        self.units = units

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units, "name": self.name}


@register_keras_serializable("own")
class Two(rnnx.Model):
    """A model of two inputs."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.a, self.b = layers.LSTM(3), layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        return self.a(inputs[0]) + self.b(inputs[1])


class Unknown(layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


def chain(*inside: Any) -> Any:
    return rnnx.Sequential([rnnx.Input((None, 3)), *inside])


def functional() -> Any:
    x = rnnx.Input((None, 3))
    y = GatedUnits(4)(x)
    return rnnx.Model(x, layers.Dense(2)(layers.add([y, GatedUnits(4)(y)])))


MODELS = {
    "layer in a chain": lambda: chain(GatedUnits(4), layers.LSTM(3)),
    "of a layer of rnnx": lambda: chain(
        Slow(4, 0.5, recurrent_dropout=0.2, kernel_regularizer="l2", recurrent_activation="hard_sigmoid"),
    ),
    "inside a wrapper": lambda: chain(layers.Bidirectional(OwnLSTM(3)), layers.Dense(1)),
    "at each step": lambda: chain(layers.TimeDistributed(GatedUnits(2)), layers.GRU(2)),
    "functional": functional,
    "model inside a chain": lambda: chain(Graph(4)),
    "model": Tagger,
    "functional by its class": Graph,
}


@pytest.mark.parametrize("name", MODELS)
def test_they_come_back(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    y = model(X)
    model.save(tmp_path / "m.keras")
    again = rnnx.load_model(tmp_path / "m.keras")
    assert type(again) is type(model) and again.name == model.name
    np.testing.assert_array_equal(again(X), y)
    assert [w.name for w in again.weights] == [w.name for w in model.weights]


@pytest.mark.parametrize("name", ["layer in a chain", "of a layer of rnnx", "inside a wrapper", "functional"])
def test_in_the_older_form(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    y = model(X)
    model.save(tmp_path / "m.h5")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "m.h5")(X), y)


def test_two_inputs(tmp_path: Path) -> None:
    model, z = Two(), np.ones((3, 2), "float32")
    y = model([X, z])
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "m.keras")([X, z]), y)


def test_training_goes_on(tmp_path: Path) -> None:
    def fitted(model: Any) -> Any:
        return model.fit(X, np.ones((3, 5, 2)), epochs=2, verbose=0, shuffle=False).history["loss"]

    model = Tagger()
    model.compile("adam", "mse")
    fitted(model)
    model.save(tmp_path / "m.keras")
    again = rnnx.load_model(tmp_path / "m.keras")
    assert fitted(again) == fitted(model)


def test_what_the_file_says(tmp_path: Path) -> None:
    """The words of Keras: who made the class, under which name, and weights by the attributes they are in."""
    model = Tagger()
    model(X)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert (config["module"], config["class_name"], config["registered_name"]) == (__name__, "Tagger", "own>Tagger")
    assert config["config"]["units"] == 4
    other = Tagger()
    other(X)
    other.load_weights(tmp_path / "m.keras")
    np.testing.assert_array_equal(other(X), model(X))


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"'unknown.*Unknown.*register_keras_serializable"):
        chain(Unknown()).save(tmp_path / "m.keras")
    with pytest.raises(FormatError, match=r"Tagger.*are written as \.keras"):
        model = Tagger()
        model(X)
        model.save(tmp_path / "m.h5")
    with pytest.raises(FormatError, match="not built"):
        Tagger().save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_a_class_that_is_not_there(tmp_path: Path) -> None:
    """Nothing is imported for a file: the class must be there already."""
    model = Tagger()
    model(X)
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for old, new in ((b"own>Tagger", b"own>Other"), (b'"Tagger"', b'"Other"')):
        parts["config.json"] = parts["config.json"].replace(old, new)
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(FormatError, match="'Other'.*custom_objects"):
        rnnx.load_model(tmp_path / "n.keras")
    again = rnnx.load_model(tmp_path / "n.keras", custom_objects={"Other": Tagger})
    np.testing.assert_array_equal(again(X), model(X))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_classes_of_a_scope(suffix: str, tmp_path: Any) -> None:
    """Of no package, as scripts of Keras 2 have them."""

    class Doubled(layers.Dense):
        def call(self, x: Any) -> Any:
            return 2 * super().call(x)

    x = np.ones((1, 3), "float32")
    entry = rnnx.Input((3,))
    model = rnnx.Model(entry, Doubled(1)(entry))
    known = {"Doubled": Doubled, "LSTM": len}  # what is no layer stands for no layer
    path = tmp_path / f"m.{suffix}"
    with rnnx.utils.custom_object_scope(known):
        model.save(path)
        np.testing.assert_array_equal(rnnx.load_model(path)(x), model(x))
    with pytest.raises(FormatError, match="'doubled.* .*custom_objects"):
        rnnx.load_model(path)
    rnnx.utils.get_custom_objects()["Doubled"] = Doubled
    try:
        np.testing.assert_array_equal(rnnx.load_model(path)(x), model(x))
    finally:
        del rnnx.utils.get_custom_objects()["Doubled"]


class Filled:
    """An initializer, constraint or regularizer that says twice its argument, and takes half of it back."""

    made: list[str] = []

    def __init__(self, scale: float = 0.25):
        self.scale = 2 * scale

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return np.full(shape, self.scale, dtype)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        cls.made.append(cls.__name__)
        return cls(config["scale"] / 2)


class Clipped(Filled):
    def __call__(self, w: Any, dtype: Any = None) -> Any:
        return np.minimum(w, self.scale)


class Held(Filled):
    def __call__(self, w: Any, dtype: Any = None) -> Any:
        return self.scale * float(np.sum(w))

    def grad(self, w: Any) -> Any:
        return np.full_like(w, self.scale)


class Doubled(layers.Layer):
    """A layer derived from none of Keras."""

    def __init__(self, factor: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = 2 * factor

    def call(self, x: Any) -> Any:
        return x * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "unit": "halves"}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        assert config.pop("unit") == "halves"
        return cls(config.pop("factor") / 2, **config)


OWN = {"Filled": Filled, "Clipped": Clipped, "Held": Held, "Doubled": Doubled}


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("ending", [".safetensors", ".keras", ".h5"])
def test_what_makes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, registered: bool) -> None:
    monkeypatch.setattr(
        "rnnx._config.CUSTOM", {f"own>{name}": kind for name, kind in OWN.items()} if registered else {}
    )
    monkeypatch.setattr(Filled, "made", [])
    path = tmp_path / f"m{ending}"
    layer = layers.GRU(2, kernel_initializer=Filled(1.0), kernel_constraint=Clipped(2.0), bias_regularizer=Held(3.0))
    model = rnnx.Sequential([rnnx.Input((None, 3)), layer])
    model.save(path)
    loaded = rnnx.load_model(path, custom_objects=None if registered else OWN)
    found = loaded.layers[0]
    assert sorted(Filled.made) == ["Clipped", "Filled", "Held"]
    assert (found.kernel_initializer.scale, found.kernel_constraint.scale, found.bias_regularizer.scale) == (2, 4, 6)
    assert type(found.kernel_constraint) is Clipped and np.array_equal(loaded.predict(X), model.predict(X))
    if not registered and ending == ".safetensors":
        with pytest.raises(FormatError, match="unknown initializer 'Filled'"):
            rnnx.load_model(path)


@pytest.mark.parametrize("ending", [".safetensors", ".keras"])
def test_a_layer_that_makes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    path = tmp_path / f"m{ending}"
    model = rnnx.Sequential([rnnx.Input((None, 3)), Doubled(1.5)])
    with monkeypatch.context() as now:
        now.setattr("rnnx._config.CUSTOM", {"own>Doubled": Doubled})
        model.save(path)
    assert rnnx.load_model(path, custom_objects=OWN).layers[0].factor == 3.0


def test_a_class_of_a_name_of_rnnx_comes_first_where_it_is_given() -> None:
    class Zeros(Filled):
        pass

    with rnnx.utils.custom_object_scope({"Zeros": Zeros}):
        assert type(rnnx.initializers.get("Zeros")) is Zeros and rnnx.initializers.get("Zeros").scale == 0.5
        assert rnnx.initializers.get({"class_name": "Zeros", "config": {"scale": 3.0}}).scale == 3.0
    assert type(rnnx.initializers.get("Zeros")) is rnnx.initializers.Zeros
