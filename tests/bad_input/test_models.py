"""Bad graphs, bad data and bad arguments of training: one clear error each, and the model is as it was."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers
from tests.bad_input.unchanged import refuse, unchanged

ANY = (ValueError, TypeError)
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(8, 5, 3)).astype(np.float32), RNG.normal(size=(8, 2)).astype(np.float32)


def model(**compiled: Any) -> Any:
    made = Sequential(
        [
            layers.GRU(4, dropout=0.3, seed=1, input_shape=(None, 3)),
            layers.BatchNormalization(),
            layers.Dropout(0.2, seed=2),
            layers.Dense(2),
        ]
    )
    if compiled:
        made.compile(**compiled)
        made.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    return made


def trained() -> Any:
    return model(optimizer="adam", loss="mse")


def two_inputs() -> Any:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    made = Model([a, b], layers.Dense(2)(layers.add([a, b])))
    made.compile("sgd", "mse")
    return made


BUILDING: dict[str, tuple[Callable[[], Any], Any, tuple[str, ...]]] = {
    "name_twice": (
        lambda: Sequential([layers.Dense(2, name="a"), layers.Dense(2, name="a")]), ValueError, ("'a'", "name"),
    ),
    "name_twice_graph": (
        lambda: Model(x := Input((3,)), layers.Dense(2, name="a")(layers.Dense(3, name="a")(x))), ValueError, ("a",),
    ),
    "disconnected": (
        lambda: Model(Input((3,)), layers.Dense(2)(Input((3,), name="other"))), ValueError, ("'other'", "inputs"),
    ),
    "inputs_only": (lambda: Model(Input((3,))), ValueError, ("`inputs`", "`outputs`")),
    "arrays": (lambda: Model(X, Y), TypeError, ("symbolic", "ndarray")),
    "input_inside": (
        lambda: Model(layers.Dense(2)(Input((3,))), layers.Dense(2)(Input((3,)))),
        ValueError,
        ("not among the inputs",),
    ),
    "merge_shapes": (lambda: layers.add([Input((3,)), Input((4,))]), ValueError, ("3", "4")),
    "merge_axes": (lambda: layers.multiply([Input((3,)), Input((None, 3))]), ValueError, ("number of axes",)),
    "concatenate": (
        lambda: layers.concatenate([Input((5, 3)), Input((6, 3))]), ValueError, ("do not fit", "axis 2"),
    ),
    "not_a_layer": (lambda: Sequential([3]), TypeError, ("layer", "int")),
    "class_not_layer": (lambda: Sequential([layers.Dense]), TypeError, ("layer", "type")),
    "input_later": (
        lambda: Sequential([layers.Dense(2), layers.InputLayer((3,))]), ValueError, ("input", "first"),
    ),
    "several_outputs": (
        lambda: Sequential([layers.LSTM(2, return_state=True, input_shape=(None, 3))]), ValueError, ("several",),
    ),
    "recurrent_after_last": (
        lambda: Sequential([layers.GRU(2, input_shape=(None, 3)), layers.GRU(2)]), ValueError,
        ("(batch, timesteps, features)", "(None, 2)"),
    ),
    "shared_width": (
        lambda: [(d := layers.Dense(2))(Input((3,))), d(Input((4,)))], ValueError, ("(batch, ..., 3)", "(None, 4)"),
    ),
    "shared_features": (
        lambda: [(g := layers.GRU(2))(Input((5, 3))), g(Input((5, 4)))], ValueError, ("timesteps, 3)", "(None, 5, 4)"),
    ),
    "rnn_rank": (lambda: layers.RNN(layers.GRUCell(2))(Input((3,))), ValueError, ("(batch, timesteps, features)",)),
    "bidirectional_rank": (
        lambda: layers.Bidirectional(layers.GRU(2))(Input((3,))), ValueError, ("(batch, timesteps, features)",),
    ),
    "unknown_width": (lambda: layers.Dense(2)(Input((None,))), ValueError, ("last axis",)),
    "state_count": (
        lambda: layers.LSTM(4)(Input((5, 3)), initial_state=[Input((4,))]), ValueError, ("2 part(s)",),
    ),
    "state_width": (
        lambda: layers.GRU(4)(Input((5, 3)), initial_state=Input((5,))), ValueError, ("`initial_state`", "(None, 5)"),
    ),
    "input_complex": (lambda: Input((3,), dtype="complex64"), ValueError, ("`dtype`", "complex64")),
    "input_dtype": (lambda: Input((3,), dtype="wide"), ValueError, ("`dtype`", "'wide'")),
    "input_batch": (lambda: Input((3,), batch_size=0), ValueError, ("`batch_size`", "0")),
    "symbolic_mask": (
        lambda: layers.GRU(2)(Input((5, 3)), mask=Input((4,))), ValueError, ("`mask`", "(None, 5)", "(None, 4)"),
    ),
    "mixed": (
        lambda: layers.GRU(2)(Input((5, 3)), initial_state=np.zeros((1, 2))), TypeError, ("symbolic", "mixed"),
    ),
    "symbolic_as_array": (lambda: np.asarray(Input((3,))), TypeError, ("symbolic",)),
    "pop_empty": (lambda: Sequential().pop(), ValueError, ("no layer",)),
    "empty_call": (lambda: Sequential()(X), ValueError, ("layer",)),
    "json": (lambda: rnnx.models.model_from_json('{"class_name": "Nothing"}'), ValueError, ("'Nothing'",)),
    "layer_name": (lambda: model().get_layer("nobody"), ValueError, ("'nobody'", "there are")),
    "layer_index": (lambda: model().get_layer(index=9), ValueError, ("4 layers", "9")),
}  # fmt: skip


@pytest.mark.parametrize("case", BUILDING)
def test_building(case: str) -> None:
    make, kind, words = BUILDING[case]
    refuse(make, kind, *words)


def test_a_layer_that_does_not_fit_is_not_added() -> None:
    made = Sequential([layers.GRU(2, input_shape=(None, 3))])
    before = made.layers
    with unchanged(made):
        refuse(lambda: made.add(layers.LSTM(2)), ValueError, "(batch, timesteps, features)")
    assert made.layers == before and made(X).shape == (8, 2)


CALLS: dict[str, tuple[Any, dict[str, Any], Any, tuple[str, ...]]] = {
    "rank": (X[0], {}, ValueError, ("(batch, any, 3)", "(5, 3); one sample alone is x[None]")),
    "features": (X[..., :2], {}, ValueError, ("(batch, any, 3)", "(8, 5, 2)")),
    "complex": (X.astype(complex), {}, TypeError, ("real", "complex128")),
    "string": (X.astype(str), {}, TypeError, ("real", "<U")),
    "argument": (X, {"lenght": [1]}, TypeError, ("lenght",)),
    "lengths_shape": (X, {"lengths": [1, 2]}, ValueError, ("`lengths`", "(8,)", "(2,)")),
    "lengths_beyond": (X, {"lengths": [9] * 8}, ValueError, ("`lengths`", "0..5", "9")),
    "lengths_float": (X, {"lengths": [1.5] * 8}, ANY, ("`lengths`", "integers", "float64")),
    "mask_shape": (X, {"mask": np.ones((8, 4), bool)}, ValueError, ("`mask`", "(8, 5)", "(8, 4)")),
    "mask_dtype": (X, {"mask": np.full((8, 5), "1")}, TypeError, ("`mask`", "boolean", "<U1")),
    "both": (X, {"mask": np.ones((8, 5), bool), "lengths": [5] * 8}, ValueError, ("`mask`", "`lengths`")),
    "list": ([X, X], {}, ANY, ("shape",)),
    "dict": ({"wrong": X}, {}, ValueError, ("expected inputs", "wrong")),
    "none": (None, {}, TypeError, ("real", "object")),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", CALLS)
def test_calls(case: str, training: bool) -> None:
    value, options, kind, words = CALLS[case]
    made = model()
    with unchanged(made):
        refuse(lambda: made(value, training=training, **options), kind, *words)


@pytest.mark.parametrize("value", [[np.zeros((2, 3))], np.zeros((2, 3)), [np.zeros((2, 3)), np.zeros((2, 4))]])
def test_calls_of_a_model_with_two_inputs(value: Any) -> None:
    made = two_inputs()
    with unchanged(made):
        refuse(
            lambda: made(value), ValueError, "2 inputs" if len(value) != 2 or isinstance(value, np.ndarray) else "'b'"
        )


FITS: dict[str, tuple[dict[str, Any], Any, tuple[str, ...]]] = {
    "rows": ({"y": Y[:5]}, ValueError, ("5", "8")),
    "y_width": ({"y": np.zeros((8, 3))}, ValueError, ("(8, 3)", "(8, 2)")),
    "y_none": ({"y": None}, ValueError, ("`y`", "needed")),
    "y_string": ({"y": np.full((8, 2), "a")}, ANY, ("real",)),
    "x_rank": ({"x": X[0], "y": Y[:5]}, ValueError, ("(batch, any, 3)", "(5, 3)")),
    "x_none": ({"x": None}, ValueError, ("`x`", "needed")),
    "x_features": ({"x": X[..., :2]}, ValueError, ("(batch, any, 3)",)),
    "x_complex": ({"x": X.astype(complex)}, TypeError, ("real", "complex128")),
    "empty": ({"x": X[:0], "y": Y[:0]}, ValueError, ("no data", "0 rows")),
    "no_batches": ({"x": iter([]), "y": None}, ValueError, ("no batch",)),
    "batch_size_0": ({"batch_size": 0}, ValueError, ("`batch_size`", "0")),
    "batch_size_float": ({"batch_size": 2.5}, ValueError, ("`batch_size`", "2.5")),
    "batch_size_bool": ({"batch_size": True}, ValueError, ("`batch_size`", "True")),
    "epochs_negative": ({"epochs": -1}, ValueError, ("`epochs`", "-1")),
    "epochs_float": ({"epochs": 1.5}, ValueError, ("`epochs`", "1.5")),
    "split_1": ({"validation_split": 1.0}, ValueError, ("`validation_split`", "1.0")),
    "split_negative": ({"validation_split": -0.1}, ValueError, ("`validation_split`", "-0.1")),
    "split_large": ({"validation_split": 0.999}, ValueError, ("`validation_split`", "empty")),
    "split_and_data": ({"validation_split": 0.5, "validation_data": (X, Y)}, ValueError, ("not both",)),
    "callback": ({"callbacks": [print]}, TypeError, ("Callback",)),
    "weights_rows": ({"sample_weight": np.ones(3)}, ValueError, ("sample_weight", "3")),
    "weights_shape": ({"sample_weight": np.ones((8, 7))}, ValueError, ("`sample_weight`", "(8, 7)")),
    "class_weight": ({"y": None, "class_weight": {0: 1.0}}, ValueError, ("`class_weight`",)),
    "ragged_features": ({"x": [np.zeros((2, 3)), np.zeros((3, 4))], "y": Y[:2]}, ValueError, ("features",)),
    "ragged_rows": ({"x": [np.zeros((2, 3)), np.zeros((3, 3))], "y": Y[:3]}, ValueError, ("2", "3")),
    "y_number": ({"y": 3}, ValueError, ("rows",)),
    "class_weight_number": ({"class_weight": 3}, TypeError, ("`class_weight`", "dict", "int")),
    "validation_freq": ({"validation_data": (X, Y), "validation_freq": 0}, ValueError, ("`validation_freq`", "0")),
    "argument": ({"batchsize": 3}, TypeError, ("batchsize",)),
}


@pytest.mark.parametrize("case", FITS)
def test_fit(case: str) -> None:
    given, kind, words = FITS[case]
    made = trained()
    with unchanged(made):
        refuse(lambda: made.fit(**{"x": X, "y": Y, "verbose": 0, "shuffle": False, **given}), kind, *words)


EVALUATIONS = {k: FITS[k] for k in ("rows", "y_width", "y_none", "x_rank", "x_none", "x_features", "batch_size_0")}


@pytest.mark.parametrize("case", [*EVALUATIONS, "empty"])
def test_evaluate(case: str) -> None:
    given, kind, words = FITS[case]
    made = trained()
    with unchanged(made):
        words = ("no data",) if case == "empty" else words
        refuse(lambda: made.evaluate(**{"x": X, "y": Y, "verbose": 0, **given}), kind, *words)


@pytest.mark.parametrize("case", ["x_rank", "x_features", "x_complex", "x_none", "batch_size_0", "batch_size_float"])
def test_predict(case: str) -> None:
    given, kind, words = FITS[case]
    made = model()
    given = {k: v for k, v in given.items() if k != "y"}
    with unchanged(made):
        refuse(lambda: made.predict(**{"x": X, **given}), kind, *words)


@pytest.mark.parametrize("case", ["y_width", "y_none", "x_rank", "x_features", "x_complex", "weights_shape"])
def test_train_on_batch(case: str) -> None:
    given, kind, words = FITS[case]
    made = trained()
    with unchanged(made):
        refuse(lambda: made.train_on_batch(**{"x": X, "y": Y, **given}), kind, *words)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
def test_not_compiled(method: str) -> None:
    made = model()
    with unchanged(made):
        refuse(lambda: getattr(made, method)(X, Y), RuntimeError, "compile")


COMPILES: dict[str, tuple[dict[str, Any], Any, tuple[str, ...]]] = {
    "optimizer": ({"optimizer": "adamant"}, ANY, ("'adamant'",)),
    "optimizer_number": ({"optimizer": 3}, ANY, ("optimizer", "int")),
    "loss": ({"loss": "msee"}, ANY, ("'msee'",)),
    "argument": ({"speed": 3}, TypeError, ("speed",)),
}


@pytest.mark.parametrize("case", COMPILES)
def test_compile(case: str) -> None:
    given, kind, words = COMPILES[case]
    made = trained()
    chosen = made.optimizer, made.loss
    with unchanged(made):
        refuse(lambda: made.compile(**given), kind, *words)
    assert (made.optimizer, made.loss) == chosen


def test_empty_batches_are_predicted_as_empty() -> None:
    made = model()
    assert made.predict(X[:0]).shape == (0, 2)
    assert made(X[:0]).shape == (0, 2)
    assert made(X[:, :0]).shape == (8, 2)


def test_not_a_number_as_label_is_seen_in_the_loss() -> None:
    made = trained()
    bad = Y.copy()
    bad[3, 0] = np.nan
    assert np.isnan(made.evaluate(X, bad, verbose=0))
    stopped = made.fit(X, bad, epochs=5, verbose=0, callbacks=[rnnx.callbacks.TerminateOnNaN()])
    assert len(stopped.history["loss"]) == 1 and np.isnan(stopped.history["loss"][0])


@pytest.mark.parametrize("event", ["train_batch_end", "train_batch_begin", "epoch_end", "epoch_begin"])
@pytest.mark.parametrize("how", ["raise", "signal"])
def test_control_c(event: str, how: str, capsys: Any) -> None:
    made, twin = (model(optimizer=rnnx.optimizers.SGD(0.1), loss="mse") for _ in range(2))
    twin.set_weights(made.get_weights())
    calls: list[int] = []

    def stop(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            if how == "raise":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)

    options: dict[str, Any] = {"batch_size": 4, "verbose": 0, "shuffle": False}
    history = made.fit(X, Y, epochs=9, callbacks=[rnnx.callbacks.LambdaCallback(**{f"on_{event}": stop})], **options)
    assert history.interrupted and "interrupted" in capsys.readouterr().out
    assert len(calls) == 3
    finished = {"train_batch_end": 3, "train_batch_begin": 2, "epoch_end": 6, "epoch_begin": 4}[event]
    assert made.optimizer.iterations == 1 + finished
    for _ in range(finished // 2):
        twin.fit(X, Y, epochs=1, **options)
    if finished % 2:
        twin.train_on_batch(X[:4], Y[:4])
    assert all(np.array_equal(a, b) for a, b in zip(made.get_weights(), twin.get_weights(), strict=True))
    assert all(len(v) == finished // 2 - ((event, how) == ("epoch_end", "raise")) for v in history.history.values())
    assert np.isfinite(made.predict(X)).all()


FIT_ARGUMENTS = [
    ("batch_size", 0), ("batch_size", 2.5), ("epochs", True), ("epochs", -1), ("epochs", 1.5), ("initial_epoch", -1),
    ("initial_epoch", 1.5), ("verbose", 3), ("verbose", None), ("validation_split", 1.0), ("validation_split", "a"),
    ("steps_per_epoch", 0), ("validation_steps", 0), ("validation_batch_size", 0), ("validation_freq", 0), ("seed", -1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FIT_ARGUMENTS)
def test_arguments_of_fit(name, value):
    model = Sequential([Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    x, y = np.ones((8, 3)), np.ones((8, 1))
    call = {"verbose": 0, name: value}
    if name in ("validation_steps", "validation_batch_size", "validation_freq"):
        call["validation_data"] = (x, y)
    with pytest.raises(ValueError, match="steps" if "steps" in name else name.removeprefix("validation_")):
        model.fit(x, y, **call)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
