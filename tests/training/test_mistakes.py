"""Common mistakes are found before a weight has moved, and each says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, layers, losses, metrics
from rnnx.saving import FormatError

RNG = np.random.default_rng(6)
X = RNG.normal(size=(12, 5, 3))
CLASSES = RNG.integers(0, 3, size=12)
ONE_HOT = np.eye(3)[CLASSES]
DEFAULT = {"optimizer": "sgd", "loss": "sparse_categorical_crossentropy"}


def one_output():
    return rnnx.Sequential([layers.Input((5, 3)), layers.GRU(4), layers.Dense(3, "softmax", name="out")])


def two_outputs():
    a = layers.Input((5, 3))
    h = layers.GRU(4)(a)
    return rnnx.Model(a, [layers.Dense(3, "softmax", name="kind")(h), layers.Dense(1, name="size")(h)])


class Batches(rnnx.utils.PyDataset):
    def __init__(self, y):
        super().__init__()
        self.y = y

    def __len__(self):
        return 3

    def __getitem__(self, k):
        return X[4 * k : 4 * k + 4], self.y[4 * k : 4 * k + 4]


class Wrong(metrics.Metric):
    def update_state(self, y_true, y_pred, sample_weight=None):
        raise ValueError("this metric cannot look at the batch")


# What is given to compile and to fit beside what is right, and what the error says.
MISTAKES = {
    "optimizer": ({"optimizer": "adamm"}, {}, "unknown optimizer 'adamm'; known: "),
    "loss": ({"loss": "crossentropyy"}, {}, "unknown loss 'crossentropyy'; known: "),
    "metric": ({"metrics": ["acuracy"]}, {}, "unknown metric 'acuracy'; known: "),
    "weighted metric": ({"weighted_metrics": [["f1"]]}, {}, "unknown metric 'f1'"),
    "metrics of another output": (
        {"metrics": {"output": ["mae"]}},
        {},
        "unknown output.* 'output' in metrics; there are out",
    ),
    "loss of another output": ({"loss": {"output": "mse"}}, {}, "unknown output.* 'output' in loss; there are out"),
    "too many losses": ({"loss": ["mse", "mae"]}, {}, "`loss` has 2 entries for 1 output"),
    "loss_weights in words": ({"loss_weights": "0.5"}, {}, "`loss_weights` must be numbers, got '0.5'"),
    "a loss without a mean": (
        {"loss": losses.SparseCategoricalCrossentropy(reduction="none")},
        {},
        "not reduction='none'",
    ),
    "no loss": ({"loss": None}, {}, "call compile.optimizer, loss. before fit"),
    "labels for AUC": ({"metrics": ["AUC"]}, {}, r"AUC: .* \(4, 3\), got \(4,\); classes need to_categorical\(y\)"),
    "labels for Precision": ({"metrics": [metrics.Precision()]}, {}, "precision: .* classes need to_categorical"),
    "labels for CategoricalAccuracy": (
        {"metrics": ["categorical_accuracy"]},
        {},
        "must be one-hot.* need the sparse metric",
    ),
    "labels for top k": ({"metrics": [metrics.TopKCategoricalAccuracy(2)]}, {}, "must be one-hot"),
    "one-hot for a sparse metric": (
        {"loss": "mse", "metrics": ["sparse_categorical_accuracy"]},
        {"y": ONE_HOT},
        "must be classes of shape .*not sparse",
    ),
    "a metric that fails": ({"metrics": [Wrong()]}, {}, "cannot look at the batch"),
    "a metric that fails, batches": (
        {"metrics": [Wrong()]},
        {"x": Batches(CLASSES), "y": None},
        "cannot look at the batch",
    ),
    "one-hot for a sparse loss": ({}, {"y": ONE_HOT}, r"must be classes of shape"),
    "classes for a categorical loss": ({"loss": "categorical_crossentropy"}, {}, r"must have the shape of `y_pred`"),
    "a class too many": ({}, {"y": CLASSES + 1}, r"classes must lie in 0..2, got 3"),
    "targets of another length": ({}, {"y": CLASSES[:10]}, "`x` has 12 rows but `y` has 10"),
    "no targets": ({}, {"y": None}, "targets `y` are needed"),
    "weights of another length": ({}, {"sample_weight": np.ones(7)}, "12 rows but `sample_weight` has 7"),
    "weights of steps": ({}, {"sample_weight": np.ones((12, 5))}, "`sample_weight` must fit values of shape"),
    "inputs of another width": ({}, {"x": X[..., :2]}, r"must have shape \(batch, 5, 3\)"),
    "strings": ({}, {"y": CLASSES.astype(str)}, "must be the numbers of classes, got dtype"),
    "class_weight by label": ({}, {"class_weight": {"cat": 2.0}}, "'cat': 2.0; a label needs its number"),
    "class_weight of no class": ({}, {"class_weight": {7: 2.0}}, "no class 7"),
    "validation_split": ({}, {"validation_split": 20}, "`validation_split` must be a number between 0 and 1, got 20"),
    "validation_split of all": ({}, {"validation_split": 0.99}, "leaves one side empty"),
    "validation targets": ({}, {"validation_data": (X, ONE_HOT)}, "must be classes of shape"),
    "validation inputs": ({}, {"validation_data": (X[..., :2], CLASSES)}, "must have shape"),
    "validation targets in batches": ({}, {"validation_data": Batches(ONE_HOT)}, "must be classes of shape"),
    "validation targets in a list": ({}, {"validation_data": [(X, ONE_HOT), (X, ONE_HOT)]}, "must be classes of shape"),
    "validation targets of a metric": (
        {"loss": "mse", "metrics": ["AUC"]},
        {"y": ONE_HOT, "validation_data": (X, ONE_HOT[:, :1])},
        "must have the shape",
    ),
    "batch_size": ({}, {"batch_size": 0}, "`batch_size` must be a positive integer, got 0"),
    "targets in the place of batch_size": ({}, {"batch_size": CLASSES}, "positive integer, got ndarray of shape \\("),
    "epochs": ({}, {"epochs": 1.5}, "`epochs` must be an integer"),
    "steps_per_epoch": ({}, {"steps_per_epoch": 0}, "number of steps must be a positive integer"),
    "a monitor without validation": (
        {},
        {"callbacks": [callbacks.EarlyStopping()]},
        "no 'val_loss' to watch; there are loss",
    ),
    "a monitor by another name": (
        {"metrics": ["accuracy"]},
        {"callbacks": [callbacks.EarlyStopping("precision", mode="max")]},
        "there are loss, accuracy",
    ),
    "a monitor of unknown direction": (
        {"metrics": [metrics.FunctionMetric(lambda y, p: p, "mine")]},
        {"callbacks": [callbacks.ReduceLROnPlateau("mine")]},
        "give mode='max' or mode='min'",
    ),
    "a checkpoint in a file": (
        {},
        {"callbacks": [callbacks.ModelCheckpoint(__file__ + "/a.keras")]},
        "test_mistakes.py",
    ),
    "a checkpoint by another name": (
        {},
        {"callbacks": [callbacks.ModelCheckpoint("{val_acc}.keras")]},
        "asks for 'val_acc'; there are epoch, loss",
    ),
    "a checkpoint in another form": (
        {},
        {"callbacks": [callbacks.ModelCheckpoint("{loss:02d}.keras")]},
        "cannot be filled in: .*'d'",
    ),
    "a class as callback": ({}, {"callbacks": [callbacks.TerminateOnNaN]}, "must be a rnnx.callbacks.Callback"),
    "a log in no folder": ({}, {"callbacks": [callbacks.CSVLogger("/no/such/folder/log.csv")]}, "/no/such/folder"),
}


def check(model, compiled, given, said, right):
    before, slots = model.get_weights(), None
    with pytest.raises((ValueError, TypeError, RuntimeError, OSError), match=said):
        model.compile(**{**DEFAULT, **compiled})
        slots = model.optimizer
        model.fit(**{**right, "batch_size": 4, "verbose": 0, **given})
    for own, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, kept)
    assert slots is None or slots.iterations == 0


@pytest.mark.parametrize("mistake", MISTAKES)
def test_nothing_has_moved(mistake):
    compiled, given, said = MISTAKES[mistake]
    check(one_output(), compiled, given, said, {"x": X, "y": CLASSES})


@pytest.mark.parametrize(
    ("compiled", "given", "said"),
    [
        ({"loss": ["mse"]}, {}, "`loss` has 1 entries for 2 output"),
        ({"loss": {"kind": "mse", "sise": "mse"}}, {}, "unknown output.* 'sise' in loss; there are kind, size"),
        ({"metrics": ["mae"]}, {}, "`metrics` has 1 entries for 2 output"),
        ({"metrics": {"sise": ["mae"]}}, {}, "'sise' in metrics; there are kind, size"),
        ({"metrics": {"size": ["maee"]}}, {}, "unknown metric 'maee'"),
        ({"loss_weights": [1.0]}, {}, "`loss_weights` has 1 entries for 2 output"),
        ({}, {"y": [CLASSES]}, "2 outputs need 2 entries, got 1|needed"),
        ({}, {"y": {"kind": CLASSES, "sise": X[:, 0, 0]}}, "'sise'"),
        ({}, {"y": [CLASSES, X[:, 0]]}, "must have the shape"),
        ({"metrics": {"kind": ["AUC"]}}, {}, "classes need to_categorical"),
        ({}, {"class_weight": {0: 2.0}}, "dict of such dicts by output"),
        ({}, {"callbacks": [callbacks.EarlyStopping("out_loss")]}, "there are loss, kind_loss, size_loss"),
    ],
)
def test_nothing_has_moved_with_two_outputs(compiled, given, said):
    right = {"loss": {"kind": "sparse_categorical_crossentropy", "size": "mse"}, **compiled}
    check(two_outputs(), right, given, said, {"x": X, "y": [CLASSES, X[:, 0, :1]]})


def test_a_refused_compile_leaves_the_one_before():
    model = one_output()
    model.compile("sgd", "mse", metrics=["mae"])
    kept = model.optimizer
    for wrong in ({"metrics": ["maee"]}, {"loss": ["mse", "mse"]}, {"optimizer": "sgdd"}):
        with pytest.raises(ValueError):
            model.compile(**{"optimizer": "adam", "loss": "mae", **wrong})
    assert model.optimizer is kept and model.metrics_names == ["loss", "mae"]
    assert type(model.loss) is losses.MeanSquaredError
    assert model.evaluate(X, ONE_HOT, verbose=0)[0] == pytest.approx(((model(X) - ONE_HOT) ** 2).mean(), rel=1e-5)


SAID = {
    "a metric": (lambda: metrics.get("acuracy"), ValueError, r"; did you mean 'accuracy'\?$"),
    "an activation": (lambda: layers.Dense(3, "rellu"), ValueError, r"; did you mean 'relu'\?$"),
    "an argument": (lambda: layers.LSTM(3, return_sequence=True), TypeError, r"; did you mean 'return_sequences'\?$"),
    "nothing like it": (lambda: layers.LSTM(3, qqq=1), TypeError, "LSTM: unknown argument.s. qqq$"),
    "a state in place of a sequence": (
        lambda: rnnx.Sequential([layers.Input((5, 3)), layers.LSTM(3), layers.GRU(2)]),
        ValueError,
        r"got \(None, 3\); a recurrent layer before this one needs return_sequences=True",
    ),
    "classes": (
        lambda: losses.CategoricalCrossentropy()(np.arange(4), np.full((4, 4), 0.25)),
        ValueError,
        r"got \(4,\); classes need a sparse loss or utils.to_categorical\(y\)$",
    ),
    "numbers": (lambda: losses.MeanSquaredError()(np.zeros(4), np.zeros((4, 3))), ValueError, r"got \(4,\)$"),
    "the class of a layer": (
        lambda: rnnx.Sequential([layers.LSTM]),
        TypeError,
        "got type: LSTM is a class, call it: LSTM",
    ),
    "a tensor in NumPy": (
        lambda: np.asarray(layers.Input((3,))),
        TypeError,
        "in a `call` use rnnx.ops, elsewhere make a Model",
    ),
}


@pytest.mark.parametrize("mistake", SAID)
def test_the_way_out(mistake):
    make, error, words = SAID[mistake]
    with pytest.raises(error, match=words):
        make()


class Mine(rnnx.Model):
    def call(self, inputs):
        return 2 * inputs


def test_the_way_out_of_fit(tmp_path):
    model = one_output()
    model.compile(**DEFAULT)
    with pytest.raises(TypeError, match="got type: EarlyStopping is a class, call it: EarlyStopping"):
        model.fit(X, CLASSES, callbacks=[callbacks.EarlyStopping])
    with pytest.raises(ValueError, match="`validation_data` must be .x, y., .* or batches, got one array"):
        model.fit(X, CLASSES, validation_data=X)
    mine = Mine()
    mine(X)
    with pytest.raises(
        FormatError, match="have this class; put .*; save the model as .safetensors, or its weights alone"
    ):
        mine.save(tmp_path / "mine.keras")


@pytest.mark.parametrize("pack", [tuple, list])
@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch"])
def test_inputs_and_targets_in_one_pair(call, pack):
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(2), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 5, 3), np.float32), np.ones((4, 1), np.float32)
    with pytest.raises(ValueError, match=rf"{call}: `x` holds 2 arrays and `y` is missing.*write {call}\(x, y\) for"):
        getattr(model, call)(pack([x, y]))
    with pytest.raises(ValueError, match=rf"holds 3 arrays.*write {call}\(x, y, sample_weight\) for"):
        getattr(model, call)(pack([x, y, np.ones(4)]))
    model.fit([(x, y)], verbose=0)  # a batch
    rows = [np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)]  # two sequences without targets
    with pytest.raises(ValueError, match="needs targets|no targets|`y`"):
        model.fit(rows, verbose=0)


class Columns:
    """As a ParquetFile: columns that are read by batches."""

    def iter_batches(self, columns):
        return iter([])


class Folder:
    """As an open file of h5py."""

    def __iter__(self):
        return iter(["x", "label"])

    def __len__(self):
        return 2

    def visititems(self, function):
        return None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("table.npy", "got the text 'table.npy'; of a file, give what is read from it: np.load"),
        (Path("table.npy"), "Path; of a file, give what is read from it"),
        (Columns(), r"got Columns; give its batches, as a generator: \(batch\[name\] for batch in x.iter_batches"),
        (Folder(), r"got Folder with 'x', 'label'; give one of its arrays, x\[name\]"),
    ],
)
def test_files_that_were_not_read(given, said):
    model = one_output()
    model.compile(**DEFAULT)
    with pytest.raises(TypeError, match=f"`x` must be arrays, .*{said}"):
        model.predict(given, verbose=0)
    with pytest.raises(TypeError, match=f"`x` must be arrays, .*{said}"):
        model.fit(given, CLASSES, verbose=0)
    with pytest.raises(TypeError, match=f"`y` must be arrays, .*{said}"):
        model.fit(X, given, verbose=0)


def test_data_without_rows():
    model = one_output()
    model.compile(**DEFAULT)
    for empty, name in (([], "list"), ({}, "dict")):
        with pytest.raises(ValueError, match=f"the data must have rows, got an empty {name}"):
            model.predict(empty, verbose=0)
    with pytest.raises(ValueError, match="the data must have rows, got function without axes"):
        model.predict(one_output, verbose=0)


def test_what_is_no_path():
    model = one_output()
    model.compile(**DEFAULT)
    said = "`path` must be a path, got Sequential .a model or layer: save it, and give the path of that file"
    for call in (rnnx.load_model, rnnx.Predictor, model.load_weights, model.save, model.save_weights):
        with pytest.raises(TypeError, match=said):
            call(model)
    with pytest.raises(TypeError, match="Predictor: `cache` must be a path, got int"):
        rnnx.Predictor("model.keras", cache=3)
    with pytest.raises(TypeError, match="warm_up: `cache` must be the path of the file, got True"):
        model.warm_up(cache=True)
