"""Layers of one's own without ``get_config``: their configuration is what their constructors were given."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import initializers, layers


def halved(x: Any) -> Any:
    return x / 2


class Holder(layers.Layer):
    """Takes one of everything that can be written down."""

    def __init__(self, sizes: Any, inner: Any = None, table: Any = None, function: Any = None, start: Any = None,
                 scale: Any = 1.0, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        self.sizes, self.inner, self.table = sizes, inner, table
        self.function, self.start, self.scale = function, start, scale

    def call(self, x: Any) -> Any:
        return x * self.scale


class Plain(layers.Layer):
    """Takes no words of every layer."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor


class Many(layers.Layer):
    def __init__(self, *factors: float):
        super().__init__()
        self.factors = factors

    def call(self, x: Any) -> Any:
        return x


@pytest.fixture
def known() -> Any:
    rnnx.utils.get_custom_objects().update({"halved": halved, "Holder": Holder, "Plain": Plain})
    yield
    for name in ("halved", "Holder", "Plain"):
        rnnx.utils.get_custom_objects().pop(name, None)


def test_everything_that_can_be_written_down_comes_back(known: Any) -> None:
    layer = Holder(
        (3, (4, "a")),
        inner=[layers.Dense(2, name="inside"), None],
        table={"deep": {"n": 1}, "layer": layers.ReLU(0.5)},
        function=halved,
        start=initializers.RandomNormal(0.0, 0.5, seed=3),
        scale=np.float32(0.25),
        name="holder",
    )
    config = json.loads(json.dumps(layer.get_config()))
    again = Holder.from_config(config)
    assert again.name == "holder" and again.sizes == [3, [4, "a"]] and again.scale == 0.25
    assert type(again.inner[0]) is layers.Dense and again.inner[0].units == 2 and again.inner[1] is None
    assert again.table["deep"] == {"n": 1} and type(again.table["layer"]) is layers.ReLU
    assert again.function is halved
    assert again.start["config"] == {"mean": 0.0, "stddev": 0.5, "seed": 3}  # the class makes its own of it
    assert again.get_config()["sizes"] == config["sizes"]


def test_what_every_layer_says_is_set_where_the_constructor_does_not_take_it(known: Any) -> None:
    layer = Plain(3.0)
    layer.name, layer.trainable = "threefold", False
    layer.activity_regularizer = rnnx.regularizers.L2(0.5)
    again = Plain.from_config(json.loads(json.dumps(layer.get_config())))
    assert (again.name, again.trainable, again.factor) == ("threefold", False, 3.0)
    x = np.arange(6.0, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(again(x), 3 * x)
    assert again.activity_regularizer(np.array([2.0])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "layer, words",
    [
        (lambda: Holder(object()), r"'.*' \(Holder\): its argument `sizes` \(object\) cannot be written down"),
        (lambda: Holder({1: 2}), r"its argument `sizes` \(dict\)"),
        (lambda: Many(1.0, 2.0), r"\(Many\) takes \*args: define `get_config`"),
    ],
)
def test_what_cannot_be_written_down_is_named(layer: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layer().get_config()
