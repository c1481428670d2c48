"""Losses inside each other: history, evaluation and weights of Keras 3.15.1 on PyTorch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import rnnx
from rnnx import layers, losses, ops

DRAWN = np.random.default_rng(1)
X = DRAWN.normal(size=(6, 3)).astype("f")
Y1, Y2 = (DRAWN.normal(size=(6, 2)).astype("f") for _ in range(2))
ROWS = np.linspace(0.2, 2, 6).astype("f")
KERNELS = [DRAWN.normal(size=(3, 2)).astype("f") * 0.5 for _ in range(2)]
TARGETS = {"list": [Y1, Y2], "tuple": (Y1, Y2), "dict": {"a": Y1, "b": Y2}, "deep": {"p": (Y1, Y2), "q": Y2}}


def both(y_true, y_pred):
    product = ops.mean(ops.square(y_true[0] - y_pred[0]) * ops.abs(y_pred[1]), axis=-1)
    return product + ops.mean(ops.abs(y_true[1] - y_pred[1]), axis=-1)


def named(y_true, y_pred):
    return ops.mean(ops.square(y_true["a"] - y_pred["a"]) + y_pred["b"] * y_pred["a"], axis=-1)


def number(y_true, y_pred):
    return ops.mean(ops.square(y_true[0] - y_pred[1]))


def model_of(form, **options):
    x = rnnx.Input((3,))
    a, b = layers.Dense(2, name="y1")(x), layers.Dense(2, name="y2")(x)
    model = rnnx.Model(
        x, {"list": [a, b], "tuple": (a, b), "dict": {"a": a, "b": b}, "deep": {"p": (a, b), "q": b}}[form]
    )
    model.set_weights([KERNELS[0], np.zeros(2), KERNELS[1], np.zeros(2)])
    model.compile(rnnx.optimizers.SGD(0.1), **options)
    return model


@pytest.mark.parametrize(
    ("form", "loss", "loss_weights", "sample_weight", "history", "evaluation", "kernels"),
    [
        ("list", (both, ("mse", "mae")), None, None,
         {"loss": [3.74249, 3.395184], "y1_loss": [1.212729, 1.143615], "y2_loss": [1.110009, 1.052331],
          "y1_y2_loss": [1.419752, 1.199238]}, 3.211141, (0.851247, 1.314176)),
        ("tuple", [both, ("mse", "mae")], [0.5, (2.0, 3.0)], None,
         {"loss": [6.466506, 5.947996], "y1_loss": [1.216177, 1.117006], "y2_loss": [1.108453, 1.035345],
          "y1_y2_loss": [1.417586, 1.215897]}, 5.667803, (0.917871, 1.157168)),
        ("dict", [named, {"a": "mse", "b": "mae"}], None, None,
         {"loss": [3.492164, 3.312747], "a_loss": [1.221124, 1.1285], "b_loss": [1.116784, 1.102398],
          "a_b_loss": [1.154256, 1.08185]}, 3.167446, (1.022727, 1.795691)),
        ("deep", {"p": [both, (None, "mse")], "q": "mae"}, None, None,
         {"loss": [4.310074, 3.674355], "p/y2_loss": [1.804268, 1.494909], "p_loss": [1.407636, 1.161162],
          "q_loss": [1.098171, 1.018284]}, 3.280596, (0.816261, 0.87369)),
        ("deep", {"p": both, "q": "mae"}, None, None,
         {"loss": [2.529259, 2.260012], "p_loss": [1.41925, 1.208344], "q_loss": [1.110009, 1.051667]},
         2.127266, (0.815656, 1.306195)),
        ("tuple", [number, ("mse", "mae")], None, ROWS,
         {"loss": [3.690409, 3.481842], "y1_loss": [1.440131, 1.375959], "y2_loss": [1.078866, 1.013417],
          "y1_y2_loss": [1.171412, 1.092466]}, 3.503884, (0.822228, 1.304814)),
        ("list", [["mse", "mae"], "mse"], None, None,
         {"loss": [3.854162, 3.560539], "y1_1_loss": [0.822334, 0.803166], "y2_loss": [1.817127, 1.606019]},
         3.32127, (0.775481, 1.412094)),
    ],
)  # fmt: skip
def test_training_equals_keras(form, loss, loss_weights, sample_weight, history, evaluation, kernels):
    model = model_of(form, loss=loss, loss_weights=loss_weights)
    options = {"batch_size": 4, "verbose": 0}
    found = model.fit(X, TARGETS[form], epochs=2, shuffle=False, sample_weight=sample_weight, **options).history
    assert set(history) <= set(found) <= {*history, "y1_loss"}
    for name, values in history.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-6, err_msg=name)
    value = model.evaluate(X, TARGETS[form], return_dict=True, **options)
    assert value["loss"] == pytest.approx(evaluation, rel=2e-6) and list(value) == list(found)
    for weight, wanted in zip(model.get_weights()[::2], kernels, strict=True):
        assert np.abs(weight).sum() == pytest.approx(wanted, rel=2e-6)
    assert model.metrics_names == list(found)


def test_gradients_are_those_of_finite_differences():
    model = model_of("dict", loss=[named, {"a": "mse", "b": None}])
    before = model.get_weights()
    model.train_on_batch(X, TARGETS["dict"])
    slopes = [(one - two) / 0.1 for one, two in zip(before, model.get_weights(), strict=True)]
    rng = np.random.default_rng(0)
    step = [rng.normal(size=part.shape) for part in before]
    ends = []
    for sign in (1e-2, -1e-2):
        model.set_weights([part + sign * way for part, way in zip(before, step, strict=True)])
        ends.append(model.evaluate(X, TARGETS["dict"], verbose=0, return_dict=True)["loss"])
    along = sum(float((slope * way).sum()) for slope, way in zip(slopes, step, strict=True))
    assert along == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-3)


def test_copies_and_files(tmp_path):
    model = model_of("tuple", loss=[both, ("mse", "mae")])
    model.fit(X, TARGETS["tuple"], verbose=0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    wanted = model.evaluate(X, TARGETS["tuple"], verbose=0)
    for twin in twins:
        assert twin.evaluate(X, TARGETS["tuple"], verbose=0) == wanted
    for suffix in (".keras", ".safetensors"):
        with pytest.warns(UserWarning, match="one loss for each output; 'y1_y2' is beside them"):
            model.save(tmp_path / f"m{suffix}")
        again = rnnx.load_model(tmp_path / f"m{suffix}")
        assert not again.compiled
        np.testing.assert_array_equal(again.predict(X)[0], model.predict(X)[0])
    model.compile("sgd", loss=["mse", "mae"])
    assert set(model.fit(X, TARGETS["tuple"], verbose=0).history) == {"loss", "y1_loss", "y2_loss"}


@pytest.mark.parametrize(
    ("form", "loss", "loss_weights", "match"),
    [
        ("list", ("mse", ("mse", "mae")), None, "outputs 'y1_y2' together must be a function"),
        ("tuple", [both, ("mse", "mae")], [1.0, 2.0], "`loss_weights` has 2 entries for 3 losses"),
        ("dict", [named, {"a": "mse", "c": "mae"}], None, r"entries \['a', 'c'\] for the outputs"),
        ("dict", {"a": {"b": "mse"}, "b": "mae"}, None, r"entries \['b'\] for a, where there is one output"),
        ("deep", {"p": "mse", "q": "mae"}, None, "the outputs 'p' together must be a function"),
    ],
)
def test_errors_come_from_compile(form, loss, loss_weights, match):
    with pytest.raises((TypeError, ValueError), match=match):
        model_of(form, loss=loss, loss_weights=loss_weights)


def test_what_a_joint_loss_needs():
    model = model_of("tuple", loss=[both, ("mse", "mae")])
    with pytest.raises(ValueError, match="takes one `sample_weight`"):
        model.fit(X, TARGETS["tuple"], sample_weight=(ROWS, 2 * ROWS), verbose=0)

    class Together(losses.Loss):
        def call(self, y_true, y_pred):
            return both(y_true, y_pred)

    one, other = model_of("tuple", loss=[Together(), ("mse", "mae")]), model_of("tuple", loss=[both, ("mse", "mae")])
    for value in zip(*(m.evaluate(X, TARGETS["tuple"], verbose=0) for m in (one, other)), strict=True):
        assert value[0] == value[1]
    summed = model_of("tuple", loss=[Together(reduction="sum"), (None, None)])
    mean = model_of("tuple", loss=[Together(), (None, None)])
    args = (X, TARGETS["tuple"])
    assert summed.train_on_batch(*args)[0] == pytest.approx(6 * mean.train_on_batch(*args)[0], rel=1e-6)
