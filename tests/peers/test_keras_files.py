"""Keras 3 opens the files that rnnx writes and gives the same outputs.

Command, in an environment with the ``golden`` and ``keras`` extras:
``KERAS_BACKEND=jax pytest -m peers tests/peers/test_keras_files.py``
"""

import numpy as np
import pytest

from ..golden.keras_models import MODELS, inputs_of

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", MODELS)
def test_keras_opens_it(name, tmp_path):
    import keras

    model = MODELS[name]()
    x = inputs_of(model, name)
    model.save(tmp_path / "m.keras")
    theirs = keras.models.load_model(tmp_path / "m.keras")
    if name == "noisy":
        first, second = (np.asarray(theirs(x[0])) for _ in range(2))
        assert not np.array_equal(first, second)
        return
    y = model(x if model.several_inputs else x[0])
    found = theirs(x if model.several_inputs else x[0])
    listed = [part if isinstance(part, (list, tuple)) else [part] for part in (y, found)]
    for a, b in zip(*listed, strict=True):
        np.testing.assert_allclose(np.asarray(b), a, rtol=1e-6, atol=1e-6)
    model.save_weights(tmp_path / "m.weights.h5")
    theirs.set_weights([np.zeros_like(w) for w in theirs.get_weights()])
    theirs.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(model.get_weights(), theirs.get_weights(), strict=False):
        np.testing.assert_array_equal(a, b)
