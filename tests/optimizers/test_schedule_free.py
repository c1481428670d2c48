"""`ScheduleFreeAdamW` is the recursion of its paper (Defazio et al. 2024), written down with the mean itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers, optimizers
from rnnx.layers.weight import Weight

RANDOM = np.random.default_rng(4)
GRADIENTS = RANDOM.normal(size=(6, 3, 2))
START = RANDOM.normal(size=(3, 2))


def of_the_paper(rate: float, beta_1: float, beta_2: float, warmup: int, decay: float) -> Any:
    """The weights after each step: gradients are taken at y, between z and the mean x."""
    y = x = z = START
    square = np.zeros_like(START)
    for t, grad in enumerate(GRADIENTS, 1):
        y = y - decay * rate * y  # which moves y alone, as in Keras
        x = (y - (1 - beta_1) * z) / beta_1
        square = beta_2 * square + (1 - beta_2) * grad**2
        now = rate * min(1.0, t / warmup) if warmup else rate
        z = z - now * grad / (np.sqrt(square / (1 - beta_2**t)) + 1e-8)
        x = (1 - 1 / t) * x + z / t
        y = (1 - beta_1) * z + beta_1 * x
        yield y


@pytest.mark.parametrize(
    ("rate", "beta_1", "beta_2", "warmup", "decay"), [(0.1, 0.9, 0.999, 0, 0.0), (0.2, 0.7, 0.8, 4, 0.1)]
)
def test_steps(rate: float, beta_1: float, beta_2: float, warmup: int, decay: float) -> None:
    weight = Weight("w", START.copy())
    optimizer = optimizers.ScheduleFreeAdamW(rate, beta_1, beta_2, warmup_steps=warmup, weight_decay=decay or None)
    for grad, wanted in zip(GRADIENTS, of_the_paper(rate, beta_1, beta_2, warmup, decay), strict=True):
        optimizer.apply([grad], [weight])
        np.testing.assert_allclose(weight.value, wanted, rtol=1e-12)


def test_the_first_steps_of_keras() -> None:
    """Of Keras 3.15, on all backends."""
    for options, wanted in (({}, [0.9, -1.9, 0.4]), ({"warmup_steps": 2}, [0.95, -1.95, 0.45])):
        weight = Weight("w", np.array([1.0, -2.0, 0.5]))
        optimizers.ScheduleFreeAdamW(0.1, **options).apply([np.array([1.0, -1.0, 0.5])], [weight])
        np.testing.assert_allclose(weight.value, wanted, atol=3e-9)


@pytest.mark.parametrize("suffix", ["safetensors", "keras", "h5"])
def test_training_goes_on_from_files(suffix: str, tmp_path: Any) -> None:
    x = RANDOM.normal(size=(8, 3)).astype("float32")
    model = rnnx.Sequential([rnnx.Input((3,)), layers.Dense(2), layers.Dense(1)])
    model.compile(optimizers.ScheduleFreeAdamW(0.05, warmup_steps=3), "mse")
    model.fit(x, x[:, :1], batch_size=4, epochs=3, shuffle=False, verbose=0)
    model.save(tmp_path / f"m.{suffix}")
    again = rnnx.load_model(tmp_path / f"m.{suffix}")
    for each in (model, again):
        each.fit(x, x[:, :1], batch_size=4, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert again.optimizer.warmup_steps == 3


def test_what_is_refused() -> None:
    for options, match in (({"beta_1": 0.0}, "beta_1"), ({"beta_2": 1.0}, "beta_2"), ({"warmup_steps": -1}, "warmup")):
        with pytest.raises(ValueError, match=match):
            optimizers.ScheduleFreeAdamW(**options)
