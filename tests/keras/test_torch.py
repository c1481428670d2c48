"""What is particular to the PyTorch backend."""

from __future__ import annotations

import pytest
import torch
from keras import layers

import rnnx.keras

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


def test_gradients_in_a_loop_of_ones_own():
    layer = layers.GRU(4, return_sequences=True, return_state=True)
    x = torch.randn(2, 5, 3, requires_grad=True)

    def gradients() -> list[torch.Tensor]:
        y, state = layer(x)
        weights = [weight.value for weight in layer.trainable_weights]
        return list(torch.autograd.grad(y.square().sum() + state.sum(), [x, *weights]))

    wanted = gradients()
    rnnx.keras.accelerate(layer)
    torch.testing.assert_close(gradients(), wanted, atol=1e-5, rtol=1e-5)
