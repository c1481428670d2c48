"""Objects as plain data and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import saving


def round_trip(obj: Any, **options: Any) -> Any:
    data = json.loads(json.dumps(saving.serialize_keras_object(obj)))
    back = saving.deserialize_keras_object(data, **options)
    assert json.loads(json.dumps(saving.serialize_keras_object(back))) == data
    return back


@pytest.mark.parametrize(
    "obj",
    ["hello", 3, 1.5, True, None, b"\xff\x00", ["a", 0, {"b": [1, None]}], Ellipsis, slice(None, 20, 1)],
)
def test_plain_values(obj: Any) -> None:
    assert round_trip(obj) == obj


def test_arrays_and_numbers_of_numpy() -> None:
    array = round_trip(np.array([[1, 2]], "int16"))
    assert array.dtype == "int16" and array.tolist() == [[1, 2]]
    assert round_trip(np.float32(0.5)) == 0.5
    assert round_trip(slice(None, np.array([0, 1]))).stop.tolist() == [0, 1]


@pytest.mark.parametrize(
    "obj",
    [
        rnnx.layers.GRU(3, kernel_regularizer="l2"),
        rnnx.metrics.MeanSquaredError(),
        rnnx.losses.MeanSquaredError(),
        rnnx.optimizers.Adam(0.25),
        rnnx.optimizers.schedules.ExponentialDecay(0.5, 2, 0.1),
        rnnx.initializers.GlorotUniform(3),
        rnnx.regularizers.L2(0.5),
        rnnx.constraints.MaxNorm(3),
        rnnx.Sequential([rnnx.Input((4,)), rnnx.layers.Dense(2, activation="relu")]),
    ],
    ids=lambda obj: f"{type(obj).__module__}.{type(obj).__name__}",
)
def test_objects(obj: Any) -> None:
    assert type(round_trip(obj)) is type(obj)


def test_what_keras_wrote() -> None:
    """The words of Keras 3.15 for ``Dense(2, activation="relu", name="d")``."""
    entry = {
        "module": "keras.layers", "class_name": "Dense", "registered_name": None,
        "build_config": {"input_shape": [None, 3]},
        "config": {
            "name": "d", "trainable": True, "units": 2, "activation": "relu", "use_bias": True,
            "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
            "kernel_initializer": {"module": "keras.initializers", "class_name": "HeNormal", "config": {"seed": 3}},
        },
    }  # fmt: skip
    layer = saving.deserialize_keras_object(entry)
    assert (layer.name, layer.units, layer.kernel_initializer.seed) == ("d", 2, 3)
    assert (
        type(saving.deserialize_keras_object({**entry, "module": "keras.src.layers.core.dense"})) is rnnx.layers.Dense
    )


class Scaled(rnnx.layers.Layer):
    def __init__(self, inner: Any, scale: Any = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.inner = saving.deserialize_keras_object(inner) if isinstance(inner, dict) else inner
        self.scale = scale

    def call(self, x: Any) -> Any:
        return self.inner(x) * self.scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": saving.serialize_keras_object(self.inner), "scale": self.scale}


def half(x: Any) -> Any:
    return x / 2


def test_classes_and_functions_of_ones_own() -> None:
    layer = round_trip(Scaled(rnnx.layers.Dense(3), 0.5), custom_objects={"Scaled": Scaled})
    assert type(layer) is Scaled and layer.inner.units == 3
    assert round_trip(half, custom_objects={"half": half}) is half
    with pytest.raises(ValueError, match="unknown function 'half'"):
        round_trip(half)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="arbitrary code execution"):
        saving.serialize_keras_object(lambda x: x)
    with pytest.raises(TypeError, match="has no configuration"):
        saving.serialize_keras_object(object())
    for entry, error, sentence in (
        ({"class_name": "__lambda__", "config": {"value": "x"}}, ValueError, "arbitrary code execution"),
        ({"class_name": "system", "module": "os", "config": {}}, ValueError, "unknown class 'system'"),
        ({"class_name": "Weight", "module": "rnnx.layers", "config": {}}, TypeError, "has no `from_config`"),
        ({"class_name": "Dense", "config": [1]}, TypeError, "`config` of 'Dense' must be a dict"),
        ({"class_name": "function", "config": ["f"]}, TypeError, "name of a function must be a string"),
        ({"class_name": "__typespec__", "config": {}}, TypeError, "unknown class '__typespec__'"),
        ({"class_name": "__numpy__", "config": {"value": [1], "dtype": "O"}}, TypeError, "an array of numbers"),
    ):
        with pytest.raises(error, match=sentence):
            saving.deserialize_keras_object(entry)
    nested: Any = 1
    for _ in range(200):
        nested = [nested]
    with pytest.raises(ValueError, match="more than 100 objects inside each other"):
        saving.deserialize_keras_object(nested)
