"""Losses, metrics, optimizers, schedules and the small parts around the layers equal Keras 3."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx.layers.layer import Weight

from .compare import DTYPES, cast, close, same_gradient, same_values
from .store import load

FILES = ("keras_training", "keras_losses", "keras_metrics", "keras_optimizers")
CASES = {name: case for file in FILES for name, case in load(file).items()}


def named(kind):
    return [name for name in CASES if name.startswith(f"{kind}/")]


def make(module, case, **extra):
    return getattr(module, case.config["class"])(**case.config["kwargs"], **extra)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("loss"))
def test_losses_equal_keras(name, dtype):
    case = CASES[name]
    loss = make(rnnx.losses, case)
    weights, mask = case.get("sample_weight"), case.get("mask")
    arguments = (cast(case["y_true"], dtype), cast(case["y_pred"], dtype))
    value = loss(*arguments, sample_weight=weights, mask=mask)
    expected = case.get("value")
    same_values(value, case[f"value/{dtype}"] if expected is None else expected, dtype, "value")
    if case.get("dy_pred") is not None and case.config["kwargs"].get("reduction", "") is not None:
        again, gradient = loss.value_and_grad(*arguments, sample_weight=weights, mask=mask)
        close(again, np.asarray(value), 1e-12, "value beside the gradient")
        assert gradient.dtype == dtype
        same_gradient(gradient, case["dy_pred"], dtype, "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("function"))
def test_losses_as_functions_equal_keras(name, dtype):
    case = CASES[name]
    function = getattr(rnnx.losses, case.config["class"])
    values = function(cast(case["y_true"], dtype), cast(case["y_pred"], dtype), **case.config["kwargs"])
    assert values.dtype == dtype
    same_values(values, case["value"], dtype, "value")


@pytest.mark.parametrize("name", named("metric"))
def test_metrics_equal_keras(name):
    case = CASES[name]
    metric = make(rnnx.metrics, case)
    weights, mask = case.get("sample_weight"), case.get("mask")
    for true, predicted, expected in zip(
        case.listed("y_true"), case.listed("y_pred"), case.listed("result"), strict=True
    ):
        metric.update_state(true, predicted, sample_weight=weights, mask=mask)
        same_values(metric.result(), expected, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("optimizer"))
def test_optimizers_equal_keras(name, dtype):
    case = CASES[name]
    optimizer = make(rnnx.optimizers, case)
    weights = [Weight(f"w{n}", cast(start, dtype)) for n, start in enumerate(case.listed("start"))]
    gradients = case.listed("gradients")
    for step in range(len(gradients[0])):
        optimizer.apply(weights, [cast(gradient[step], dtype) for gradient in gradients])
        for weight, wishes in zip(weights, case.listed("values"), strict=True):
            same_values(weight.value, wishes[step], dtype, f"{weight.name} after step {step}")
    if case.get("last/0") is not None:
        optimizer.finalize_variable_values()
        for weight, wish in zip(weights, case.listed("last"), strict=True):
            same_values(weight.value, wish, dtype, f"{weight.name} in the end")
        assert optimizer.iterations == case.config["iterations"]


@pytest.mark.parametrize("name", named("schedule"))
def test_schedules_equal_keras(name):
    case = CASES[name]
    schedule = make(rnnx.optimizers.schedules, case)
    for step, expected in enumerate(case["values"]):
        close(schedule(step), expected, 1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("regularizer"))
def test_regularizers_equal_keras(name, dtype):
    case = CASES[name]
    regularizer = make(rnnx.regularizers, case)
    w = cast(case["w"], dtype)
    same_values(regularizer(w), case["value"], dtype, "penalty")
    same_gradient(regularizer.grad(w), case["dw"], dtype, "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("constraint"))
def test_constraints_equal_keras(name, dtype):
    case = CASES[name]
    same_values(make(rnnx.constraints, case)(cast(case["w"], dtype)), case["result"], dtype)


@pytest.mark.parametrize("name", named("initializer"))
def test_initializers_have_the_configuration_of_keras(name):
    case = CASES[name]
    wish = {key: value for key, value in case.config["get_config"].items() if not key.endswith("_axes")}
    assert make(rnnx.initializers, case).get_config() == wish


@pytest.mark.parametrize("name", named("pad"))
def test_padding_equals_keras(name):
    case = CASES[name]
    result = rnnx.utils.pad_sequences(case.config["sequences"], **case.config["kwargs"])
    assert result.dtype == case["result"].dtype
    np.testing.assert_array_equal(result, case["result"])


def test_to_categorical_equals_keras():
    case = CASES["to_categorical"]
    result = rnnx.utils.to_categorical(case.config["labels"], num_classes=case.config["num_classes"])
    np.testing.assert_array_equal(result, case["result"])
