"""Variables of metrics and optimizers in arithmetic: each is the array that it holds, and takes what is put there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx import layers, metrics, optimizers


def of_a_metric() -> Any:
    return metrics.Mean().variables[0]


def of_a_metric_of_ones_own() -> Any:
    return metrics.Mean().add_weight((), "zeros")


def of_an_optimizer() -> Any:
    return optimizers.SGD(0.0).variables[1]


def a_count() -> Any:
    return optimizers.SGD(0.0).variables[0]


def a_slot() -> Any:
    layer, optimizer = layers.Dense(1, use_bias=False), optimizers.SGD(momentum=0.5)
    layer.build((None, 1))
    optimizer.build(layer.weights)
    return optimizer.variables[2]


KINDS = (of_a_metric, of_a_metric_of_ones_own, of_an_optimizer, a_count, a_slot)


@pytest.mark.parametrize("made", KINDS)
def test_what_is_added_in_place_is_kept(made: Any) -> None:
    variable = same = made()
    variable += 3
    assert variable is same and np.asarray(variable).item() == 3 and variable.numpy().item() == 3
    np.multiply(variable, 2, out=variable)
    assert np.asarray(variable).item() == 6 and type(variable + 1) is not type(variable)


@pytest.mark.parametrize("made", KINDS)
def test_a_value_of_another_shape_is_refused(made: Any) -> None:
    variable = made()
    with pytest.raises(ValueError, match=rf"{variable.name}: the value must have shape .*, got \(7,\)"):
        variable.assign(np.zeros(7))
    assert repr(variable).startswith(f"<{type(variable).__name__} name={variable.name}, value=")


def test_results_go_into_plain_arrays_too() -> None:
    variable, out = of_a_metric_of_ones_own(), np.ones(())
    assert np.add(variable, 4, out=out) is out and out == 4 and np.asarray(variable) == 0
