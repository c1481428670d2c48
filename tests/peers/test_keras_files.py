"""Keras 3 opens the files that rnnx writes, gives the same outputs and goes on with the training.

Command, in an environment with the ``golden`` and ``keras`` extras:
``KERAS_BACKEND=jax pytest -m peers tests/peers/test_keras_files.py``
"""

import warnings

import numpy as np
import pytest

import rnnx
from rnnx import losses, metrics
from rnnx.formats.keras._compiled import NAMES_NOT_IN_KERAS

from ..formats.test_compiled import OPTIMIZERS, Own, X, Y, compiled, largest, simple
from ..golden.keras_models import MODELS, inputs_of

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", MODELS)
def test_keras_opens_it(name, suffix, tmp_path):
    import keras

    model = MODELS[name]()
    x = inputs_of(model, name)
    model.save(tmp_path / f"m.{suffix}")
    theirs = keras.models.load_model(tmp_path / f"m.{suffix}")
    if name == "noisy":
        first, *others = (keras.ops.convert_to_numpy(theirs(x[0])) for _ in range(9))
        assert not all(np.array_equal(first, other) for other in others)
        return
    y = model(x if model.several_inputs else x[0])
    found = theirs(x if model.several_inputs else x[0])
    listed = [part if isinstance(part, (list, tuple)) else [part] for part in (y, found)]
    for a, b in zip(*listed, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(b), a, rtol=1e-6, atol=1e-6)
    path = tmp_path / ("m.weights.h5" if suffix == "keras" else "w.h5")
    model.save_weights(path)
    theirs.set_weights([np.zeros_like(w) for w in theirs.get_weights()])
    theirs.load_weights(path)
    for a, b in zip(model.get_weights(), theirs.get_weights(), strict=False):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_keras_goes_on_and_so_does_rnnx_after_it(name, tmp_path):
    import keras

    model = compiled(name)
    for layer in model.layers:  # masks of dropout are not the same ones
        layer.rate = getattr(layer, "rate", 0) and 0.0
        if hasattr(layer, "forward_layer"):
            layer.forward_layer.dropout = layer.backward_layer.dropout = 0.0
    options = {"batch_size": 5, "shuffle": False, "verbose": 0, "epochs": 2}
    model.fit(X, Y, **options)
    model.save(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        theirs = keras.models.load_model(tmp_path / "m.keras")
    expected = model.evaluate(X, Y, return_dict=True)
    found = theirs.evaluate(X, Y, return_dict=True, verbose=0)
    for word in ("loss", "accuracy", "top"):
        np.testing.assert_allclose(found[word], expected[word], rtol=1e-5)
    theirs.save(tmp_path / "again.keras")
    again = rnnx.load_model(tmp_path / "again.keras")
    losses = [one.fit(X, Y, **options).history["loss"] for one in (model, theirs, again)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=3e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=3e-4)


def test_keras_trains_on_from_h5(tmp_path):
    import keras

    model = compiled("amsgrad")
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.h5")
    theirs = keras.models.load_model(tmp_path / "m.h5")
    np.testing.assert_allclose(theirs.evaluate(X, Y, verbose=0)[0], model.evaluate(X, Y)[0], rtol=1e-5)
    theirs.fit(X, Y, verbose=0)
    assert int(theirs.optimizer.iterations) == 1
    theirs.save(tmp_path / "again.h5")
    again = rnnx.load_model(tmp_path / "again.h5")
    np.testing.assert_allclose(again.predict(X), theirs.predict(X, verbose=0), atol=1e-6)
    assert again.optimizer.iterations == 1


def test_keras_knows_the_metrics(tmp_path):
    import keras

    model = simple()
    known = {**metrics.names.TABLE, **losses.names.TABLE}
    special = ("top", "ctc", "circle", "generalized", "fbeta", "categorical")  # of other shapes
    names = [name for name in known if name in NAMES_NOT_IN_KERAS and not any(s in name.lower() for s in special)]
    given = [
        "mae",
        "AUC",
        metrics.Precision(0.3),
        metrics.LossMetric(losses.Huber(0.3), "own"),
        losses.MeanSquaredError(),
    ]
    model.compile("adam", losses.LogCosh(), metrics=[*given, *names])
    model.save(tmp_path / "m.keras")
    y = (X[:, 0, :1] > 0).astype("float32")
    found = keras.models.load_model(tmp_path / "m.keras").evaluate(X, y, verbose=0)
    expected = model.evaluate(X, y)
    again = rnnx.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.evaluate(X, y), expected)
    del found[2], expected[2]  # Keras' AUC is not exact
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_keras_asks_things_of_the_user_back(tmp_path):
    import keras

    model = simple()
    model.compile("adam", Own(3.0), metrics=[largest])
    model.save(tmp_path / "m.keras")
    with pytest.raises(TypeError, match="'Own'"):
        keras.models.load_model(tmp_path / "m.keras")

    class Theirs(keras.losses.Loss):
        def __init__(self, factor, **options):
            super().__init__(**options)
            self.factor = factor

        def call(self, y_true, y_pred):
            return self.factor * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    things = {"Own": Theirs, "largest": lambda a, b: keras.ops.max(keras.ops.abs(a - b), axis=-1)}
    theirs = keras.models.load_model(tmp_path / "m.keras", custom_objects=things)
    y = X[:, 0, :1]
    found = theirs.evaluate(X, y, verbose=0)
    np.testing.assert_allclose(found, model.evaluate(X, y), rtol=1e-5)
