"""What fit, evaluate and predict do with data: steps, seeds, sources, and errors before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import data, layers, utils
from rnnx.training.batches import is_source
from rnnx.training.fit_data import class_weights

X = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(10, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def _seeded():
    utils.set_random_seed(3)


def vector_model(loss="mse", units=1, optimizer="sgd"):
    model = rnnx.Sequential([layers.Input((3,)), layers.Dense(units, activation="softmax" if units > 1 else None)])
    model.compile(optimizer, loss)
    return model


def sequence_model(units=1, per_step=False, loss="mse"):
    model = rnnx.Sequential(
        [
            layers.Input((None, 3)),
            layers.GRU(4, return_sequences=per_step, dropout=0.3, seed=1),
            layers.Dense(units, activation="softmax" if units > 1 else None),
        ]
    )
    model.compile("adam", loss)
    return model


def rows(count=12, features=3):
    rng = np.random.default_rng(5)
    return [rng.normal(size=(k % 5 + 1, features)) for k in range(count)]


# ---- Steps -----------------------------------------------------------------------------------------------------------


def seen_rows(batches, epochs):
    return [[batch.x[:, 0].tolist() for batch in batches.epoch(k)] for k in range(epochs)]


def test_an_epoch_of_some_steps_goes_on_where_the_one_before_ended():
    x = np.arange(5.0)[:, None]
    found = seen_rows(data.Batches(x, batch_size=2, steps=2), 4)
    assert found == [[[0, 1], [2, 3]], [[4], [0, 1]], [[2, 3], [4]], [[0, 1], [2, 3]]]
    batches = data.Batches(x, batch_size=2, steps=2)
    first = seen_rows(batches, 1)
    batches.restart()
    assert seen_rows(batches, 1) == first
    assert len(batches) == 2


@pytest.mark.parametrize("ragged", [False, True])
def test_every_row_once_in_each_pass_of_several_epochs(ragged):
    x = rows(7) if ragged else np.arange(7.0)[:, None]
    batches = data.Batches(x, batch_size=2, steps=2, shuffle=True, generator=np.random.default_rng(2))
    numbers = [batch.rows.tolist() for epoch in range(4) for batch in batches.epoch(epoch)]
    for k in (0, 4):
        assert sorted(sum(numbers[k : k + 4], [])) == list(range(7))
    assert numbers[:4] != numbers[4:]


@pytest.mark.parametrize("source", [[(X[k : k + 1], k) for k in range(3)], range(3)])
def test_lists_of_batches_start_again_after_the_last(source):
    batches = data.GivenBatches(source, steps=2)
    found = [[b.x if isinstance(b.x, int) else b.y for b in batches.epoch(k)] for k in range(3)]
    assert found == [[0, 1], [2, 0], [1, 2]]


def test_steps_of_fit_evaluate_and_predict():
    model = vector_model()
    history = model.fit(X, Y, batch_size=2, epochs=2, steps_per_epoch=2, verbose=0)
    assert model.optimizer.iterations == 4
    assert len(history.history["loss"]) == 2
    assert model.evaluate(X, Y, batch_size=2, steps=2) == pytest.approx(model.evaluate(X[:4], Y[:4]), rel=1e-6)
    np.testing.assert_allclose(model.predict(X, batch_size=2, steps=2), model.predict(X)[:4], rtol=1e-6)
    found = model.fit(X, Y, epochs=2, validation_data=(X, Y), validation_batch_size=3, validation_steps=1, verbose=0)
    assert found.history["val_loss"][1] == pytest.approx(model.evaluate(X[:3], Y[:3]), rel=1e-6)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_bad_steps(bad):
    with pytest.raises(ValueError, match="steps"):
        vector_model().fit(X, Y, steps_per_epoch=bad, verbose=0)


def test_empty_sources_end():
    assert list(data.GivenBatches([], steps=3)) == []
    with pytest.raises(ValueError, match="no batch"):
        vector_model().fit(iter([]), verbose=0, steps_per_epoch=2)


def test_a_generator_that_ends_is_named():
    with pytest.raises(ValueError, match="a generator must go on"):
        vector_model().fit(((X, Y) for _ in range(3)), epochs=2, verbose=0)


# ---- Seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize("ragged", [False, True])
def test_training_goes_on_as_if_never_stopped(tmp_path, ragged, steps):
    """Shuffled, with dropout, through a file, and with other draws from the common generator in between."""
    x = rows() if ragged else np.random.default_rng(7).normal(size=(12, 5, 3))
    y = np.random.default_rng(8).normal(size=(12, 1))
    options = {"batch_size": 5, "seed": 4, "steps_per_epoch": steps, "verbose": 0}
    straight = sequence_model()
    start = straight.get_weights()
    expected = straight.fit(x, y, epochs=5, **options).history["loss"]
    stopped = sequence_model()
    stopped.set_weights(start)
    first = stopped.fit(x, y, epochs=2, **options).history["loss"]
    path = tmp_path / "model.safetensors"
    stopped.save(path, include_optimizer=True)
    utils.shuffling_generator().random(17)
    resumed = rnnx.load_model(path)
    assert first + resumed.fit(x, y, epochs=5, initial_epoch=2, **options).history["loss"] == expected
    for left, right in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_seed_gives_every_epoch_its_own_order():
    batches = data.Batches(np.arange(8.0)[:, None], batch_size=8, shuffle=True, seed=1)
    first, second = seen_rows(batches, 2)
    assert first != second
    assert sorted(first[0]) == sorted(second[0]) == list(range(8))
    assert seen_rows(data.Batches(np.arange(8.0)[:, None], batch_size=8, shuffle=True, seed=2), 1)[0] != first


@pytest.mark.parametrize("bad", [-1, 0.5, "1", True])
def test_bad_seeds(bad):
    with pytest.raises(ValueError, match="`seed`"):
        vector_model().fit(X, Y, seed=bad, verbose=0)


# ---- Batches by number -----------------------------------------------------------------------------------------------


class Numbered(utils.PyDataset):
    def __init__(self, count=4):
        super().__init__(workers=3)
        self.count, self.asked, self.passes = count, [], 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        return X[index : index + 1], Y[index : index + 1]

    def on_epoch_end(self):
        self.passes += 1


class Bare:
    """Has neither an end nor an iterator: its batches must be asked for by number."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[:2], Y[:2]


def test_batches_by_number():
    source = Numbered()
    assert is_source(source) and is_source(Bare()) and not is_source(X) and not is_source(Numbered)
    assert source.num_batches == 4
    model = vector_model()
    model.fit(source, epochs=3, shuffle=False, verbose=0)
    assert source.asked == [0, 1, 2, 3] * 3
    assert source.passes == 3
    assert model.optimizer.iterations == 12
    source.asked.clear()
    model.fit(source, epochs=3, verbose=0)
    assert [sorted(source.asked[k : k + 4]) for k in (0, 4, 8)] == [[0, 1, 2, 3]] * 3
    assert source.asked != [0, 1, 2, 3] * 3
    assert model.evaluate(source) == pytest.approx(model.evaluate(X[:4], Y[:4]), rel=1e-5)
    assert model.predict(source).shape == (4, 1)
    model.fit(Bare(), validation_data=Bare(), verbose=0)
    assert model.predict(Bare()).shape == (6, 1)


@pytest.mark.parametrize("steps", [None, 3])
def test_batches_by_number_resume(steps):
    straight, first, later = Numbered(), Numbered(), Numbered()
    options = {"seed": 6, "steps_per_epoch": steps, "verbose": 0}
    vector_model().fit(straight, epochs=5, **options)
    vector_model().fit(first, epochs=2, **options)
    vector_model().fit(later, epochs=5, initial_epoch=2, **options)
    assert first.asked + later.asked == straight.asked


def test_a_py_dataset_must_be_implemented():
    with pytest.raises(NotImplementedError, match="__len__"):
        len(utils.Sequence())
    with pytest.raises(NotImplementedError, match="__getitem__"):
        utils.PyDataset()[0]


# ---- Errors before anything is trained -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"x": np.zeros((4, 5, 3)), "y": np.zeros((3, 2))}, "4 rows but `y` has 3"),
        ({"x": np.zeros((4, 5, 3)), "y": np.zeros((4, 7))}, "y_true"),
        ({"x": np.zeros((4, 5, 2)), "y": np.zeros((4, 2))}, "must have shape"),
        ({"x": np.zeros((0, 5, 3)), "y": np.zeros((0, 2))}, "0 rows"),
        ({"x": np.zeros((4, 5, 3)), "y": None}, "targets"),
        ({"x": None, "y": np.zeros((4, 2))}, "`x` is needed"),
        ({"x": np.zeros((4, 5, 3)), "y": np.zeros((4, 2)), "batch_size": 0}, "batch_size"),
        ({"x": np.zeros((4, 5, 3)), "y": np.zeros((4, 2)), "epochs": -1}, "epochs"),
        ({"x": np.zeros((4, 5, 3)), "y": np.zeros((4, 2)), "sample_weight": np.ones(3)}, "sample_weight"),
        ({"x": iter([]), "y": None}, "no batch"),
    ],
)
def test_errors_of_fit_change_nothing(arguments, match):
    model = sequence_model(2)
    model.compile("sgd", "mse")
    start = model.get_weights()
    with pytest.raises(ValueError, match=match):
        model.fit(verbose=0, **arguments)
    for left, right in zip(start, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


LONG = rows(40)
LABELS = np.arange(10) % 2


@pytest.mark.parametrize(
    ("model", "arguments", "match"),
    [
        (vector_model, {"x": X, "y": Y, "validation_data": (X, Y[:4])}, "10 rows but `y` has 4"),
        (vector_model, {"x": X, "y": Y, "validation_data": (X[:, :2], Y)}, "must have shape"),
        (vector_model, {"x": X, "y": Y, "validation_data": (X, Y[:, [0, 0]])}, "`y_true`"),
        (sequence_model, {"x": [*LONG[:39], np.zeros((9, 2))], "y": np.zeros(40)}, "number of features"),
        (
            lambda: sequence_model(per_step=True),
            {"x": LONG, "y": [*(np.zeros((len(r), 1)) for r in LONG[:39]), np.zeros((9, 1))]},
            "in row 39",
        ),
        (
            lambda: sequence_model(per_step=True),
            {"x": LONG, "y": [np.zeros((len(r), 1)) for r in LONG], "sample_weight": [np.ones(1)] * 40},
            "as many steps",
        ),
        (
            lambda: vector_model("sparse_categorical_crossentropy", 2),
            {"x": X, "y": np.array([0] * 9 + [5])},
            "0..1, got 5",
        ),
        (
            lambda: vector_model("sparse_categorical_crossentropy", 2),
            {"x": X, "y": LABELS, "validation_data": (X, LABELS[:9])},
            "`y` has 9",
        ),
    ],
)
def test_data_that_do_not_fit_change_nothing(model, arguments, match):
    model = model()
    start = model.get_weights()
    with pytest.raises(ValueError, match=match):
        model.fit(verbose=0, batch_size=2, shuffle=False, **arguments)
    assert model.optimizer.iterations == 0
    for left, right in zip(start, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_labels_of_weight_zero_may_be_anything():
    model = vector_model("sparse_categorical_crossentropy", 2)
    labels = np.array([0, 1] * 4 + [-1, 7])
    model.fit(X, labels, sample_weight=labels * 0 + (np.arange(10) < 8), verbose=0)
    assert model.optimizer.iterations == 1


def test_models_without_a_shape_are_built_from_the_training_data():
    model = rnnx.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must have shape"):
        model.fit(X, Y, validation_data=(X[:, :2], Y), verbose=0)
    model.fit(X, Y, validation_data=(X, Y), verbose=0)


def test_trying_out_moves_no_noise():
    """The masks of the first batch are those of a fit that validates nothing."""
    x, y = np.random.default_rng(7).normal(size=(12, 5, 3)), np.zeros((12, 1))
    plain, watched = sequence_model(), sequence_model()
    watched.set_weights(plain.get_weights())
    found = watched.fit(x, y, seed=1, validation_data=(x, y), verbose=0).history["loss"]
    assert found == plain.fit(x, y, seed=1, verbose=0).history["loss"]


# ---- Lists and classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [lambda a: a.tolist(), list])
def test_lists_of_vectors_are_no_sequences(form):
    model = vector_model()
    expected = model.evaluate(X, Y)
    assert model.evaluate(form(X), form(Y)) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(model.predict(form(X)), model.predict(X), rtol=1e-6)
    model.fit(form(X), form(Y), sample_weight=[1.0] * 10, validation_data=(form(X), form(Y)), verbose=0)


def test_classes_of_ragged_and_one_hot_targets():
    weights = {0: 0.5, 1: 2.0}
    ragged = class_weights([[0, 1], [1]], weights, None)
    assert [row.tolist() for row in ragged] == [[0.5, 2], [2]]
    ragged = class_weights([[0, 1], [1]], weights, [[2.0, 1.0], [3.0]])
    assert [row.tolist() for row in ragged] == [[1, 2], [6]]
    with pytest.raises(ValueError, match="3"):
        class_weights([[0, 1], [1]], weights, np.ones(3))
    eye = np.eye(2, dtype=int)[[1, 0, 1]]
    assert class_weights(eye, weights, None, one_hot=True).tolist() == [2, 0.5, 2]
    assert class_weights(eye, weights, None).shape == (3, 2)  # two steps with a class each
    steps = class_weights(np.array([[0, 1], [1, 1]]), weights, np.array([1.0, 10.0]))
    assert steps.tolist() == [[0.5, 2], [20, 20]]


def test_class_weights_of_one_hot_integers_equal_those_of_classes():
    labels = np.arange(10) % 2
    sparse, dense = (
        vector_model("sparse_categorical_crossentropy", 2), vector_model("categorical_crossentropy", 2),
    )  # fmt: skip
    dense.set_weights(sparse.get_weights())
    options = {"class_weight": {0: 0.3, 1: 2.0}, "verbose": 0, "seed": 1}
    left = sparse.fit(X, labels, **options).history["loss"]
    assert dense.fit(X, np.eye(2, dtype=int)[labels], **options).history["loss"] == pytest.approx(left, rel=1e-6)


def test_class_weights_of_ragged_steps():
    x = rows()
    y = [np.arange(len(r)) % 2 for r in x]
    model = sequence_model(2, True, "sparse_categorical_crossentropy")
    weights = [np.where(part == 1, 3.0, 0.5) for part in y]
    start = model.get_weights()
    expected = model.train_on_batch(x, y, sample_weight=weights)
    again = sequence_model(2, True, "sparse_categorical_crossentropy")
    again.set_weights(start)
    assert again.train_on_batch(x, y, class_weight={0: 0.5, 1: 3.0}) == expected


def test_class_weight_equals_sample_weight():
    x, y = np.random.default_rng(2).normal(size=(9, 4, 3)), np.arange(9) % 3
    model = rnnx.Sequential([layers.Input((4, 3)), layers.LSTM(4), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    start = model.get_weights()
    weights = {0: 1.0, 1: 4.0, 2: 0.5}
    first = model.train_on_batch(x, y, class_weight=weights)
    after = model.get_weights()
    model.set_weights(start)
    assert first == pytest.approx(model.train_on_batch(x, y, sample_weight=np.array([weights[c] for c in y])))
    for left, right in zip(after, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    one_hot = utils.to_categorical(y)
    model.set_weights(start)
    model.compile("sgd", "categorical_crossentropy")
    assert first == pytest.approx(model.train_on_batch(x, one_hot, class_weight=weights), rel=1e-5)


def test_lists_as_validation_data_and_targets():
    x, y = np.random.default_rng(2).normal(size=(4, 5, 3)), [0, 1, 0, 1]
    model = rnnx.Sequential([layers.Input((None, 3)), layers.GRU(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = model.fit(x, y, class_weight={0: 1.0, 1: 2.0}, validation_data=[x, y], verbose=0)
    assert set(history.history) == {"loss", "val_loss"}
    assert "val_loss" in model.fit(x, y, validation_data=[(x, y), (x, y)], verbose=0).history


class Counted(utils.PyDataset):
    """Says how many batches there are in the other way, and what is called."""

    num_batches = 3

    def __init__(self):
        super().__init__()
        self.calls = []

    def __getitem__(self, k):
        if k > 40:
            raise RuntimeError("nobody stops")
        self.calls.append(k)
        return X[2 * k : 2 * k + 2], np.ones((2, 1))

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def test_a_dataset_is_a_loop_that_ends():
    data = Counted()
    assert len(data) == 3 and len([x for x, y in data]) == 3 and len(list(data)) == 3
    data.calls.clear()
    model = vector_model("mse", 1)
    model.fit(data, shuffle=False, epochs=2, verbose=0)
    assert data.calls == ["begin", 0, 1, 2, "end"] * 2
    assert model.predict(data).shape == (6, 1)
    with pytest.raises(NotImplementedError, match="__len__"):
        len(utils.PyDataset())
