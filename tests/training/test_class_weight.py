"""Weights of classes, in every form of targets, by losses that are computed here."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import layers, utils
from rnnx.training.batches import Batch

RNG = np.random.default_rng(7)
X = RNG.normal(size=(6, 4, 3))
STEPS = RNG.integers(0, 3, size=(6, 4))
BY_CLASS = {0: 1.0, 1: 5.0, 2: 0.5}
OPTIONS = {"shuffle": False, "verbose": 0}


def model_of(width, loss, sequences=False, activation="softmax"):
    model = rnnx.Sequential(
        [layers.Input((4, 3)), layers.GRU(5, return_sequences=sequences), layers.Dense(width, activation)]
    )
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.compile(rnnx.optimizers.SGD(0.0), loss)
    return model


def weight_of(classes):
    return np.vectorize(BY_CLASS.get)(classes)


def sources(y):
    """The rows, and the same in batches of three, as a function of the model's data."""

    class Numbered(utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, k):
            return X[3 * k : 3 * k + 3], y[3 * k : 3 * k + 3]

    pairs = [(X[k : k + 3], y[k : k + 3]) for k in (0, 3)]
    return {
        "rows": {"x": X, "y": y},
        "list": {"x": pairs},
        "dataset": {"x": Numbered()},
        "iterator": {"x": iter(pairs)},
    }


@pytest.mark.parametrize("source", ["rows", "list", "dataset", "iterator"])
@pytest.mark.parametrize("dtype", [int, float, np.float32])
def test_classes_of_steps_and_of_sequences(dtype, source):
    """(batch, timesteps) of any dtype are classes where the output has one more axis."""
    model = model_of(3, "sparse_categorical_crossentropy", sequences=True)
    p = np.take_along_axis(model(X), STEPS[..., None], -1)[..., 0]
    expected = -(np.log(p) * weight_of(STEPS)).mean()
    for y in (STEPS, STEPS[..., None]):
        history = model.fit(**sources(y.astype(dtype))[source], class_weight=BY_CLASS, **OPTIONS).history
        assert history["loss"] == pytest.approx([expected], rel=1e-5)
    model = model_of(3, "sparse_categorical_crossentropy")
    expected = -(np.log(model(X)[np.arange(6), STEPS[:, 0]]) * weight_of(STEPS[:, 0])).mean()
    for y in (STEPS[:, 0], STEPS[:, :1]):
        history = model.fit(**sources(y.astype(dtype))[source], class_weight=BY_CLASS, **OPTIONS).history
        assert history["loss"] == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("dtype", [int, float])
@pytest.mark.parametrize("sequences", [False, True])
def test_yes_and_no(dtype, sequences):
    model = model_of(1, "binary_crossentropy", sequences, "sigmoid")
    yes = STEPS > 1 if sequences else STEPS[:, 0] > 1
    p = model(X)[..., 0]
    expected = -(np.log(np.where(yes, p, 1 - p)) * np.where(yes, 5, 1)).mean()
    for y in (yes, yes[..., None]):
        history = model.fit(X, y.astype(dtype), class_weight={0: 1.0, 1: 5.0}, **OPTIONS).history
        assert history["loss"] == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("dtype", [int, float])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy", "mse"])
def test_one_hot(loss, sequences, dtype):
    """A number for every number of the output is one-hot, whatever the loss and the dtype."""
    model = model_of(3, loss, sequences)
    classes = STEPS if sequences else STEPS[:, 0]
    y, p = np.eye(3)[classes], model(X)
    each = {
        "categorical_crossentropy": -(y * np.log(p)).sum(-1),
        "binary_crossentropy": -np.log(np.where(y == 1, p, 1 - p)).mean(-1),
        "mse": ((y - p) ** 2).mean(-1),
    }
    for own in (None, np.arange(6.0)):
        weights = weight_of(classes) * (1 if own is None else own.reshape(6, *[1] * sequences))
        history = model.fit(X, y.astype(dtype), sample_weight=own, class_weight=BY_CLASS, **OPTIONS).history
        assert history["loss"] == pytest.approx([(each[loss] * weights).mean()], rel=1e-5)


def test_a_model_that_waits_for_data():
    y = STEPS.astype(float)
    built = model_of(3, "sparse_categorical_crossentropy", sequences=True)
    expected = built.fit(X, y, class_weight=BY_CLASS, **OPTIONS).history["loss"]
    for source in ("rows", "list"):
        model = rnnx.Sequential([layers.GRU(5, return_sequences=True), layers.Dense(3, "softmax")])
        model.build((None, 4, 3))
        model.set_weights(built.get_weights())
        weights = model.get_weights()
        model = rnnx.Sequential(
            [layers.GRU(5, return_sequences=True, weights=weights[:3]), layers.Dense(3, "softmax", weights=weights[3:])]
        )
        model.compile(rnnx.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        assert model.fit(**sources(y)[source], class_weight=BY_CLASS, **OPTIONS).history["loss"] == pytest.approx(
            expected, rel=1e-5
        )


@pytest.mark.parametrize("form", ["dict", "list"])
@pytest.mark.parametrize("source", ["rows", "list", "train_on_batch"])
def test_several_outputs(source, form):
    a = layers.Input((3,))
    model = rnnx.Model(a, [layers.Dense(3, "softmax", name="p")(a), layers.Dense(2, name="q")(a)])
    model.compile(rnnx.optimizers.SGD(0.0), {"p": "sparse_categorical_crossentropy", "q": "mse"})
    x, classes, y = X[:, 0], STEPS[:, 0], RNG.normal(size=(6, 2))
    p, q = model(x)
    expected = -(np.log(p[np.arange(6), classes]) * weight_of(classes)).mean() + ((q - y) ** 2).mean()
    by_output = {"p": BY_CLASS} if form == "dict" else [BY_CLASS, None]
    if source == "train_on_batch":
        loss = model.train_on_batch(x, [classes, y], class_weight=by_output, return_dict=True)["loss"]
    else:
        given = {"x": x, "y": [classes, y]} if source == "rows" else {"x": [(x, [classes, y])]}
        (loss,) = model.fit(**given, class_weight=by_output, **OPTIONS).history["loss"]
    assert loss == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="dict of such dicts by output, or a list .* each of p, q"):
        model.fit(x, [classes, y], class_weight=BY_CLASS, **OPTIONS)


def test_batches_that_are_read_again_keep_their_own_weights():
    batch = Batch(X, STEPS[:, 0], np.arange(6.0))
    kept = batch.sample_weight
    model = model_of(3, "sparse_categorical_crossentropy")
    history = model.fit([batch], epochs=3, class_weight=BY_CLASS, **OPTIONS).history["loss"]
    assert history == pytest.approx([history[0]] * 3) and batch.sample_weight is kept


@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        ({"cat": 1.0}, ValueError, "'cat': 1.0; a label needs its number"),
        ({0: 1.0, 1.5: 2.0}, ValueError, "1.5: 2.0"),
        ({-1: 1.0}, ValueError, "-1: 1.0"),
        ({0: -1.0}, ValueError, "0: -1.0"),
        ({0: "much"}, ValueError, "0: 'much'"),
        ({0: float("nan")}, ValueError, "0: nan"),
        ({3: 1.0}, ValueError, "no class 3, the output has 3 of them"),
        ([1.0, 2.0], TypeError, "dict of weights by class, got list"),
    ],
)
@pytest.mark.parametrize("source", ["rows", "list"])
def test_what_cannot_be_weights_changes_nothing(source, weights, error, said):
    model = model_of(3, "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 1.0
    before = model.get_weights()
    with pytest.raises(error, match=said):
        model.fit(**sources(STEPS[:, 0])[source], class_weight=weights, **OPTIONS)
    for own, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, kept)
