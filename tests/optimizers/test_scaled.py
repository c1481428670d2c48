"""`LossScaleOptimizer`; weights and scales are those of Keras 3.15."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers, optimizers
from rnnx.layers.weight import Weight

NAN, INF = float("nan"), float("inf")
STEPS = [  # gradients of the scaled loss; weights, scale, steps since it changed, and all steps after that
    ([8, 4], [0.900001, 1.900001], 8, 1, 1),
    ([8, 8], [0.800002, 1.803484], 16, 0, 2),
    ([NAN, 1], [0.800002, 1.803484], 8, 0, 2),
    ([1, INF], [0.800002, 1.803484], 4, 0, 2),
    ([4, 4], [0.700003, 1.705288], 4, 1, 3),
    ([4, 2], [0.600004, 1.610595], 8, 0, 4),
    ([8, 1], [0.500005, 1.526504], 8, 1, 5),
]


def test_steps() -> None:
    weight = Weight("w", np.array([1.0, 2.0], "float32"))
    optimizer = optimizers.LossScaleOptimizer(optimizers.Adam(0.1), initial_scale=8.0, dynamic_growth_steps=2)
    for grad, value, scale, counter, steps in STEPS:
        optimizer.apply([np.array(grad, "float32")], [weight])
        np.testing.assert_allclose(weight.value, value, rtol=1e-5)
        assert (float(optimizer.dynamic_scale), int(optimizer.step_counter)) == (scale, counter)
        assert optimizer.iterations == steps
    assert optimizer.scale_loss(2.0) == 16
    fresh = optimizer.before_first_step()
    assert fresh.iterations == 0 and float(fresh.dynamic_scale) == 8 and not fresh.built


X = np.random.default_rng(0).normal(size=(12, 4, 3)).astype("float32")


def made(optimizer: Any) -> Any:
    rnnx.utils.set_random_seed(2)
    model = rnnx.Sequential([rnnx.Input((4, 3)), layers.GRU(3, seed=1), layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("suffix", ["safetensors", "keras", "h5"])
def test_training_is_that_of_the_inner_optimizer_and_goes_on_from_files(suffix: str, tmp_path: Any) -> None:
    plain, scaled = made(optimizers.Adam(0.02)), made(optimizers.LossScaleOptimizer(optimizers.Adam(0.02), 2.0**10, 5))
    for model in (plain, scaled):
        model.fit(X, X[:, 0, :1], batch_size=4, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(plain.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(scaled.optimizer.dynamic_scale) == 2.0**11 and scaled.optimizer.iterations == 9
    scaled.save(tmp_path / f"m.{suffix}")
    again = rnnx.load_model(tmp_path / f"m.{suffix}")
    assert type(again.optimizer) is optimizers.LossScaleOptimizer and again.optimizer.iterations == 9
    assert float(again.optimizer.dynamic_scale) == 2.0**11 and int(again.optimizer.step_counter) == 4
    for model in (scaled, again):
        model.optimizer.learning_rate = 0.01
        model.fit(X, X[:, 0, :1], batch_size=4, shuffle=False, verbose=0)
    for a, b in zip(again.get_weights(), scaled.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    copy = optimizers.LossScaleOptimizer.from_config(scaled.optimizer.get_config())
    assert copy.learning_rate == 0.01 and copy.dynamic_growth_steps == 5


def test_a_batch_that_is_not_finite_is_left_out() -> None:
    model = made(optimizers.LossScaleOptimizer("sgd"))
    before = model.get_weights()
    model.train_on_batch(np.full_like(X, NAN), X[:, 0, :1])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0 and float(model.optimizer.dynamic_scale) == 2.0**14


def test_running_means_are_those_of_the_inner_optimizer() -> None:
    results = []
    for wrapped in (False, True):
        optimizer: Any = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
        model = made(optimizers.LossScaleOptimizer(optimizer) if wrapped else optimizer)
        swapping = rnnx.callbacks.SwapEMAWeights(swap_on_epoch=True)
        model.fit(X, X[:, 0, :1], epochs=2, shuffle=False, callbacks=[swapping], verbose=0)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"clipnorm": 1.0}, "`clipnorm`; give it to the inner optimizer"),
        ({"anything": None}, "unknown argument `anything`"),
        ({"dynamic": False}, "`dynamic` must be True"),
        ({"initial_scale": 0}, "`initial_scale` must be positive"),
        ({"dynamic_growth_steps": 0}, "must be a positive integer"),
        ({"inner_optimizer": None}, "must be another optimizer"),
        ({"inner_optimizer": optimizers.LossScaleOptimizer("sgd")}, "must be another optimizer"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        optimizers.LossScaleOptimizer(**{"inner_optimizer": "adam", **arguments})
    assert optimizers.LossScaleOptimizer("adam", clipnorm=None).inner_optimizer.loss_scale_factor is None


@pytest.mark.parametrize(
    "changed",
    [
        {"initial_scale": "x"}, {"initial_scale": [1]}, {"initial_scale": -1.0}, {"dynamic_growth_steps": 1e9},
        {"inner_optimizer": None}, {"inner_optimizer": {"class_name": "LossScaleOptimizer", "config": {}}},
        {"inner_optimizer": {"class_name": 7}},
    ],
)  # fmt: skip
def test_damaged_descriptions_leave_the_model_without_an_optimizer(changed: dict[str, Any], tmp_path: Any) -> None:
    model = made(optimizers.LossScaleOptimizer("sgd"))
    path, other = tmp_path / "m.keras", tmp_path / "n.keras"
    model.save(path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["compile_config"]["optimizer"]["config"].update(changed)
                data = json.dumps(config).encode()
            target.writestr(name, data)
    with pytest.warns(UserWarning, match="optimizer|compiled"):
        again = rnnx.load_model(other)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
