"""Every form of a model and of its data with one input and one output gives the same numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rnnx
from rnnx import layers, utils

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4, 3)).astype(np.float32)
Y = RNG.normal(size=(6, 2)).astype(np.float32)
WEIGHT = np.arange(1.0, 7.0)


def model_of(form="i, o"):
    a = layers.Input((4, 3), name="i")
    b = layers.Dense(2, name="o")(layers.GRU(5, name="g")(a))
    if form == "Sequential":
        model = rnnx.Sequential([layers.Input((4, 3), name="i"), layers.GRU(5), layers.Dense(2, name="o")])
    elif form == "inputs, layer.output":
        whole = rnnx.Model(a, b)
        model = rnnx.Model(whole.inputs, whole.get_layer("o").output)
    elif form == "inputs, outputs":
        whole = rnnx.Model(a, b)
        model = rnnx.Model(whole.inputs, whole.outputs)
    else:
        ends = {
            "i, o": (a, b),
            "[i], o": ([a], b),
            "i, [o]": (a, [b]),
            "[i], [o]": ([a], [b]),
            "(i,), (o,)": ((a,), (b,)),
        }
        model = rnnx.Model(*ends[form])
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    model.compile(rnnx.optimizers.SGD(0.1), "mse")
    return model


MODELS = [
    "i, o", "[i], o", "i, [o]", "[i], [o]", "(i,), (o,)", "inputs, layer.output", "inputs, outputs", "Sequential",
]  # fmt: skip
DATA = {
    "x, y": lambda a, b: (a, b),
    "[x], y": lambda a, b: ([a], b),
    "x, [y]": lambda a, b: (a, [b]),
    "[x], [y]": lambda a, b: ([a], [b]),
    "(x,), (y,)": lambda a, b: ((a,), (b,)),
    "lists": lambda a, b: (a.tolist(), b.tolist()),
    "[lists]": lambda a, b: ([a.tolist()], [b.tolist()]),
    "by name": lambda a, b: ({"i": a}, {"o": b}),
    "lists by name": lambda a, b: ({"i": a.tolist()}, {"o": b.tolist()}),
}


class Numbered(utils.PyDataset):
    def __init__(self, pack):
        super().__init__()
        self.pack = pack

    def __len__(self):
        return 2

    def __getitem__(self, k):
        return self.pack(*DATA["x, y"](X[3 * k : 3 * k + 3], Y[3 * k : 3 * k + 3]))


class Loader:
    """Like a DataLoader: it can be read again and again, and gives lists."""

    def __init__(self, pack):
        self.pack = pack

    def __iter__(self):
        return (self.pack(X[k : k + 3], Y[k : k + 3]) for k in (0, 3))


def endless(pack):
    return itertools.cycle(Loader(pack))


def predictions(model):
    """What the layers give, one after the other."""
    hidden = model.get_layer(index=-2)(X)
    return hidden @ model.get_weights()[-2] + model.get_weights()[-1]


def numbers(model, x, y):
    """A dict of what all methods give; each starts from the same weights."""
    before, found = model.get_weights(), {}
    options = {"batch_size": 3, "shuffle": False, "verbose": 0}

    def fresh(name, call):
        model.set_weights(before)
        given = call()
        found[name] = given.history if hasattr(given, "history") else given

    fresh("call", lambda: model(x))
    fresh("predict", lambda: model.predict(x))
    fresh("predict_on_batch", lambda: model.predict_on_batch(x))
    fresh("predict in batches", lambda: model.predict(x, batch_size=4))
    fresh("fit", lambda: model.fit(x, y, **options))
    fresh("fit, weighted", lambda: model.fit(x, y, sample_weight=WEIGHT, **options))
    fresh("fit, split", lambda: model.fit(x, y, validation_split=0.5, **options))
    fresh("fit, validated", lambda: model.fit(x, y, validation_data=(x, y), **options))
    fresh("fit, validated by a list", lambda: model.fit(x, y, validation_data=[x, y], **options))
    fresh("evaluate", lambda: model.evaluate(x, y, verbose=0))
    fresh("evaluate, weighted", lambda: model.evaluate(x, y, sample_weight=[WEIGHT], verbose=0))
    fresh("train_on_batch", lambda: model.train_on_batch(x, y))
    fresh("test_on_batch", lambda: model.test_on_batch(x, y))
    return found


def check_same(found, expected):
    for name, wanted in expected.items():
        given = found[name]
        assert type(given) is type(wanted), name
        if isinstance(wanted, dict):
            assert list(given) == list(wanted), name
            given, wanted = list(given.values()), list(wanted.values())
        np.testing.assert_allclose(given, wanted, rtol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def expected():
    model = model_of()
    found = numbers(model_of(), X, Y)
    p = predictions(model)
    squares = ((p - Y) ** 2).mean(-1)
    np.testing.assert_allclose(found["predict"], p, rtol=1e-5)
    assert found["evaluate"] == pytest.approx(squares.mean(), rel=1e-5)
    assert found["evaluate, weighted"] == pytest.approx((squares * WEIGHT).mean(), rel=1e-5)
    first = model_of()
    losses = [first.train_on_batch(X[:3], Y[:3]), first.train_on_batch(X[3:], Y[3:])]
    assert found["fit"]["loss"] == pytest.approx([np.mean(losses)], rel=1e-6)
    return found


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("form", MODELS)
def test_rows_in_any_form(form, data, expected):
    check_same(numbers(model_of(form), *DATA[data](X, Y)), expected)


@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize("data", [name for name in DATA if name != "lists by name"])
@pytest.mark.parametrize("form", ["i, o", "[i], [o]", "Sequential"])
def test_batches_in_any_form(form, data, pair, expected):
    def pack(a, b):
        return pair(DATA[data](a, b))

    model = model_of(form)
    before, options = model.get_weights(), {"shuffle": False, "verbose": 0}
    for source in (lambda: endless(pack), lambda: Loader(pack), lambda: Numbered(pack)):
        steps = {"steps_per_epoch": 2}
        model.set_weights(before)
        assert model.fit(source(), **steps, **options).history["loss"] == pytest.approx(
            expected["fit"]["loss"], rel=1e-6
        )
        model.set_weights(before)
        assert model.evaluate(source(), steps=2, verbose=0) == pytest.approx(expected["evaluate"], rel=1e-6)
        np.testing.assert_allclose(model.predict(source(), steps=2), expected["predict"], rtol=1e-6)
        history = model.fit(X, Y, batch_size=3, validation_data=source(), validation_steps=2, **options).history
        assert history["val_loss"] == pytest.approx(expected["fit, validated"]["val_loss"], rel=1e-6)


def test_a_model_in_a_model_takes_a_list_of_one():
    inner = model_of("[i], [o]")
    a = layers.Input((4, 3))
    outer = rnnx.Model([a], [inner([a])])
    np.testing.assert_array_equal(outer.predict([X]), inner.predict(X))
    assert outer.output_shape == (None, 2) and outer.input_shape == (None, 4, 3)
    again = rnnx.Model.from_config(outer.get_config())
    assert again.output_shape == (None, 2)


def test_ids_in_a_list_of_one_are_no_sequence():
    ids = np.array([[1, 2, 3], [4, 5, 0]])
    y = np.array([[1.0], [0.0]])
    for first in ([layers.Input((None,), dtype="int32")], []):
        model = rnnx.Sequential([*first, layers.Embedding(7, 3), layers.GRU(2), layers.Dense(1)])
        expected = model.predict(ids)
        for x in ([ids], (ids,), ids.tolist(), [ids.tolist()]):
            np.testing.assert_array_equal(model.predict(x), expected)
        model.compile("sgd", "mse")
        assert model.evaluate([ids], [y], verbose=0) == pytest.approx(((expected - y) ** 2).mean(), rel=1e-6)
        one = [np.array([1, 2, 3])]  # a ragged list of one sequence
        np.testing.assert_allclose(model.predict(one), expected[:1], rtol=1e-6)


def test_a_model_that_waits_for_data():
    for x, y in ((X, Y), ([X], [Y]), (X.tolist(), Y.tolist()), ([X.tolist()], Y)):
        model = rnnx.Sequential([layers.GRU(5), layers.Dense(2)])
        model.compile("sgd", "mse")
        model.fit(x, y, verbose=0)
        assert model.predict(x).shape == (6, 2) and model.output_shape == (None, 2)
    model = rnnx.Sequential([layers.GRU(5), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(Loader(lambda a, b: [a, b]), verbose=0)
    assert model.input_shape == (None, None, 3)


@pytest.mark.parametrize("y", [Y[:1], [Y[:1]], Y[:1].tolist(), [Y[0]]], ids=["y", "[y]", "list", "[row]"])
def test_a_single_row(y):
    model = model_of()
    expected = ((model(X[:1]) - Y[:1]) ** 2).mean()
    for x in (X[:1], [X[:1]], X[:1].tolist(), [X[0]]):
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_several_inputs_and_outputs_as_nested_lists():
    a, b = layers.Input((3,), name="a"), layers.Input((3,), name="b")
    shared = layers.Dense(1, name="p")
    model = rnnx.Model([a, b], [shared(a), layers.Dense(2, name="q")(b)])
    model.compile("sgd", "mse")
    x, y = [X[:, 0], X[:, 1]], [Y[:, :1], Y]
    expected = model.evaluate(x, y, verbose=0)
    named = {"a": x[0], "b": x[1]}, {"q": y[1], "p": y[0]}
    for inputs, targets in (
        ([part.tolist() for part in x], [part.tolist() for part in y]),
        named,
        (tuple(x), tuple(y)),
    ):
        assert model.evaluate(inputs, targets, verbose=0) == pytest.approx(expected, rel=1e-6)
        batches = [(inputs, targets)]
        assert model.evaluate(batches, verbose=0) == pytest.approx(expected, rel=1e-6)
        assert model.evaluate(iter([[inputs, targets]]), verbose=0) == pytest.approx(expected, rel=1e-6)
        assert [part.shape for part in model.predict(inputs)] == [(6, 1), (6, 2)]
        assert model.test_on_batch(inputs, targets) == pytest.approx(expected, rel=1e-6)


def test_targets_of_a_sequence_beside_a_ragged_list():
    model = rnnx.Sequential([layers.Input((None, 3)), layers.GRU(5), layers.Dense(2)])
    model.compile("sgd", "mse")
    rows = [row[: k + 1] for k, row in enumerate(X[:4])]
    p = np.concatenate([model(row[None]) for row in rows])
    for y in (Y[:4], Y[:4].tolist(), list(Y[:4])):
        for x in (rows, [row.tolist() for row in rows]):
            assert model.evaluate(x, y, verbose=0) == pytest.approx(((p - Y[:4]) ** 2).mean(), rel=1e-5)


def test_tensors_of_others_are_arrays():
    class Tensor:
        def __init__(self, value):
            self.value = value

        def __array__(self, dtype=None, copy=None):
            return self.value

        def __len__(self):
            return len(self.value)

        def __getitem__(self, k):
            return Tensor(self.value[k])

    model = model_of()
    loss = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(Tensor(X), Tensor(Y), verbose=0) == pytest.approx(loss)
    assert model.evaluate([Tensor(X)], [Tensor(Y)], verbose=0) == pytest.approx(loss)
    assert model.evaluate(iter([[Tensor(X), Tensor(Y)]]), verbose=0) == pytest.approx(loss)
