"""Masks inside wrappers and merges, masks that ride on arrays, and channels first, equal Keras 3."""

from __future__ import annotations

import pytest

from .compare import DTYPES, check_layer
from .store import load

CASES = load("keras_masks")


def named(*kinds: str) -> list[str]:
    return [name for name in CASES if name.startswith(kinds)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in named("steps-") if name != "steps-softmax"])
def test_masked_layers_equal_keras(name, dtype):
    check_layer(CASES[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("channels-"))
def test_channels_first_equals_keras(name, dtype):
    check_layer(CASES[name], dtype)
