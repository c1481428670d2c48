"""rnnx, Keras and PyTorch train alike: the same weights, data and batches give the same losses.

The golden file of the same curves is held against rnnx by the plain suite and against the frameworks here.
"""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from ..golden.curves import CURVES, keras_curve, torch_curve
from ..golden.store import load

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def keras():
    from ..golden.keras_torch import keras

    return keras


@pytest.mark.parametrize("name", CURVES)
def test_losses_of_twenty_adam_steps_agree(name, keras):
    ours = keras_curve(rnnx, name, "float32")
    np.testing.assert_allclose(ours, keras_curve(keras, name, "float32"), rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours, torch_curve(name, "float32"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CURVES)
def test_golden_curves_are_what_the_frameworks_give(name, keras):
    golden = load("curves")[name]
    np.testing.assert_allclose(keras_curve(keras, name, "float64"), golden["keras"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(torch_curve(name, "float64"), golden["torch"], rtol=0, atol=1e-6)
