"""Operators, indices and functions of NumPy on symbolic tensors; sizes; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, layers, ops
from rnnx.layers.limits import weights_limited
from rnnx.layers.ops.arguments import Slot

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
MEANINGS: dict[str, Callable[[Any, Any], Any]] = {
    "tanh": lambda x, y: np.tanh(x),
    "exp": lambda x, y: np.exp(x) * np.maximum(x, y),
    "mean": lambda x, y: np.mean(x, axis=1),
    "sum": lambda x, y: np.sum(x, axis=-1, keepdims=True),
    "concatenate": lambda x, y: np.concatenate([x, y], axis=-1),
    "stack": lambda x, y: np.stack((x, y), axis=1),
    "where": lambda x, y: np.where(x > y, x, y),
    "clip": lambda x, y: np.clip(x, -0.5, 0.5),
    "matmul": lambda x, y: np.matmul(x, np.transpose(y, (0, 2, 1))),
    "einsum": lambda x, y: np.einsum("btf,bsf->bts", x, y),
    "norm": lambda x, y: np.linalg.norm(x, axis=-1),
    "remainder": lambda x, y: np.remainder(x, 0.7),
    "add": lambda x, y: np.ones((5, 4), np.float32) + x - np.float32(2) * y,
    "array first": lambda x, y: np.arange(4, dtype=np.float32) * x,
    "matrix first": lambda x, y: np.ones((2, 5), np.float32) @ x,
    "reshape": lambda x, y: np.reshape(x, (-1, 20)),
    "expand_dims": lambda x, y: np.expand_dims(x, 1),
    "argmax": lambda x, y: np.argmax(x, axis=-1),
    "not": lambda x, y: ~(x > 0) | (y > 0) & (x < 1) ^ (y >= 0),
    "powers": lambda x, y: 2.0**x + abs(x) ** 1.5 + +x,
    "equal": lambda x, y: (np.round(x) == np.round(y)) * (np.round(x) != 1),
    "round": lambda x, y: np.round(x, 1),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_what_numpy_and_operators_mean(name: str) -> None:
    meaning = MEANINGS[name]
    entries = [Input((None, 4)), Input((None, 4))]
    found, wanted = Model(entries, meaning(*entries))([X, Y]), meaning(X, Y)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_nothing_else_of_numpy() -> None:
    x = Input((None, 4))
    for call, words in (
        (lambda: np.fft.fft(x), r"np.fft.*fft has no meaning for a symbolic tensor"),
        (lambda: np.add.reduce(x), "np.add.reduce has no meaning"),
        (lambda: np.add(x, 1, out=np.zeros(3)), r"np.add\(out=\) has no meaning"),
        (lambda: np.cbrt(x), "np.cbrt has no meaning for a symbolic tensor, which has no values yet"),
        (lambda: np.std(x, axis=1, ddof=1), "ops.std|unexpected keyword"),
        (lambda: np.asarray(x), "has no values"),
        (lambda: len(x), "has no length"),
        (lambda: list(x), "cannot be iterated; use ops.unstack"),
        (lambda: 1 if x > 0 else 0, "use ops.where in place of `if`"),
        (lambda: not x, "use ops.where"),
        (lambda: range(ops.shape(x)[1]), "cannot be interpreted as an integer"),
        (lambda: x + "a", "unsupported operand"),
        (lambda: x * True, "unsupported operand"),
        (lambda: ops.mean(x, axes=1), r"ops.mean: .*'axes'; it takes \(x, axis=None, keepdims=False\)"),
    ):
        with pytest.raises(TypeError, match=words):
            call()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: ops.mean(x, axis=3), "ops.mean: there is no axis 3 in 3 axes"),
        (lambda x: ops.sum(x, axis=(1, -2)), "an axis stands twice"),
        (lambda x: x + ops.ones((3,)), r"shapes \(None, None, 4\), \(3,\) do not fit together"),
        (lambda x: ops.power(x, x[:, 0]), "must have the same number of axes: the batch"),
        (lambda x: ops.reshape(x, (-1, -1)), "at most one -1"),
        (lambda x: ops.reshape(ops.ones((2, 3)) * x[0, 0, 0], (4,)), r"6 numbers of shape \(2, 3\) cannot take"),
        (lambda x: ops.transpose(x, (0, 1)), "must be the 3 axes in some order"),
        (lambda x: ops.concatenate([x, x[:, 0]]), "same number of axes"),
        (lambda x: ops.concatenate([x, x[:, :, :2]], axis=1), "do not fit together along axis 1"),
        (lambda x: ops.split(x, 3, axis=-1), "4 numbers along axis -1 cannot be split into 3"),
        (lambda x: ops.unstack(x, axis=1), "give `num`"),
        (lambda x: ops.squeeze(x, -1), "axis 2 of shape .* is not of size 1"),
        (lambda x: ops.squeeze(x), "give `axis`"),
        (lambda x: x[:, :, 4], "index 4 is out of range for axis 2 of size 4"),
        (lambda x: x[0, 0, 0, 0], "4 indices for 3 axes"),
        (lambda x: x[..., 0, ...], "at most one"),
        (lambda x: ops.matmul(x, ops.ones((3, 2))), "do not fit: 4 columns and 3 rows"),
        (lambda x: ops.einsum("btf,fu->bt", x), "is of 2 operand"),
        (lambda x: ops.einsum("btt->b", x), "must name 3 different axes"),
        (lambda x: ops.einsum("btf->bz", x), "must name axes of the operands"),
        (lambda x: ops.pad(x, ((0, 0), (1, 1))), "a pair for each of 3 axes"),
        (lambda x: ops.pad(x, 1, mode="wrap"), "`mode` must be one of"),
        (lambda x: ops.one_hot(ops.argmax(x), 3, axis=2), "there is no axis 2"),
        (lambda x: ops.top_k(x, 5), "`k` must be a number up to the size"),
        (lambda x: ops.cast(x, "text"), "must be a type of numbers"),
        (lambda x: ops.where(x > 0, x), "give both"),
        (lambda x: ops.zeros(x.shape), "`shape` must hold sizes; for unknown ones give those of ops.shape"),
        (lambda x: ops.max(ops.zeros((0, 2)) + x[0, 0, 0], axis=0), "no largest or smallest of no numbers"),
        (lambda x: layers.Operation("nothing"), "no `function` 'nothing'"),
        (lambda x: layers.Operation("tanh")([x, x]), "takes 1 input"),
    ],
)
def test_refused(call: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(Input((None, 4)))


@pytest.mark.parametrize(
    "key", [X > 0, True, np.array([True]), [0.5], "a"], ids=["mask", "bool", "array", "float", "str"]
)
def test_indices_refused(key: Any) -> None:
    with pytest.raises(TypeError):
        Input((None, 4))[:, key]


def test_tensors_in_dicts_sets_and_lists() -> None:
    x, y = Input((None, 4)), Input((None, 3))
    z = Input((None, 4))
    assert {x: 1, y: 2}[y] == 2 and len({x, y, x}) == 2
    assert y in [x, y] and y not in [x, z] and [x, y, z].index(z) == 2
    assert (x is None) is False and (x == None) is False  # noqa: E711
    same = Model([x, z], x == z)
    assert same([X, X]).all() and same([X, X]).dtype == bool


def test_sizes_are_numbers_of_the_graph() -> None:
    x = Input((None, 4))
    batch, steps, features = ops.shape(x)
    assert features == 4 and batch.shape == steps.shape == () and batch.dtype == np.int32
    assert ops.reshape(layers.Dense(6)(x), (batch, -1)).shape == (None, None)
    assert ops.reshape(layers.LSTM(6)(x), (batch, -1)).shape == (None, 6)
    turned = ops.transpose(ops.concatenate([x, x], axis=1), (2, 0, 1))[1:3, ..., 2:5:2, None]
    fixed = ops.stack([ops.sum(turned, axis=2)] * 2, axis=1)  # (2, 2, batch, 1)
    assert ops.reshape(ops.moveaxis(fixed, 2, 0), (batch, -1)).shape == (None, 4)
    assert ops.reshape(x[:3], (batch, -1)).shape == (None, None)  # that is another batch
    model = Model(x, ops.reshape(ops.sum(x, axis=1) / ops.cast(steps, "float32"), (batch, 2, 2)))
    np.testing.assert_allclose(model(X), X.mean(axis=1).reshape(3, 2, 2), rtol=1e-6)
    loop = Model(x, ops.reshape(ops.tanh(ops.reshape(x, (batch * steps, 4))), (batch, steps, 4)))
    np.testing.assert_array_equal(loop(X[:, :2]), np.tanh(X[:, :2]))
    assert ops.reshape(x, (x.shape[0], x.shape[1], 2, 2)).shape == (None, None, 2, 2)
    assert ops.reshape(layers.LSTM(6)(x), (None, 3, 2)).shape == (None, 3, 2)


def test_constants_in_files(tmp_path: Any) -> None:
    x = Input((None, 4), name="x")
    table = RNG.normal(size=(4, 3))
    y = (x * np.array([1.0, np.inf, -0.0, 1e-40]) + 0.1) @ table
    model = Model(x, ops.clip(y, -np.inf, 2))
    for name in ("m.safetensors", "m.keras"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(rnnx.load_model(tmp_path / name)(X), model(X))
    large = Model(x, ops.take(np.zeros((70_000, 1)), ops.cast(x, "int32"), axis=0))
    with pytest.raises(
        ValueError, match=r"take.* a constant of shape \(70000, 1\) .*at most 65,536 numbers\); make it"
    ):
        large.save(tmp_path / "large.safetensors")


def attention() -> Model:
    x = Input((None, 4), name="x")
    h = layers.GRU(6, return_sequences=True)(x)
    score = ops.softmax(layers.Dense(1)(ops.tanh(layers.Dense(5)(h))), axis=1)
    context = ops.sum(score * h, axis=1)
    return Model(x, layers.Dense(1)(ops.concatenate([context, h[:, -1]], axis=-1)))


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_attention_by_hand_learns_and_is_saved(suffix: str, tmp_path: Any) -> None:
    rnnx.utils.set_random_seed(4)
    x = np.random.default_rng(5).normal(size=(96, 7, 4)).astype(np.float32)
    y = x[np.arange(96), np.abs(x[:, :, 0]).argmax(axis=1), 1:2]  # at the step that stands out
    model = attention()
    model.compile(rnnx.optimizers.Adam(0.02), "mse")
    losses = model.fit(x, y, epochs=25, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    model.save(tmp_path / f"m{suffix}")
    again = rnnx.load_model(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    rest = [
        loaded.fit(x, y, epochs=2, batch_size=32, shuffle=False, verbose=0).history["loss"] for loaded in (model, again)
    ]
    assert rest[0] == rest[1]


def test_integers_and_truth_values_as_outputs() -> None:
    x = Input((None, 4))
    h = layers.Dense(3)(x)
    model = Model(x, [ops.argmax(h, axis=-1), h > 0, h])
    places, truths, values = model.predict(X, batch_size=2, verbose=0)
    assert (places.dtype, truths.dtype) == (np.int32, bool)
    np.testing.assert_array_equal(places, values.argmax(axis=-1))
    np.testing.assert_array_equal(truths, values > 0)
    words = Model(x, layers.Embedding(5, 2)(ops.argmax(h, axis=-1) + 1))
    assert words(X).shape == (3, 5, 2)


def test_masks_end() -> None:
    x = Input((None, 4))
    seen = layers.Masking()(x)
    padded = X.copy()
    padded[:, 3:] = 0
    gru = layers.GRU(2)
    with_mask, without = Model(x, gru(seen)), Model(x, gru(ops.multiply(seen, 1.0)))
    np.testing.assert_allclose(with_mask(padded), without(padded[:, :3]), atol=1e-6)
    assert not np.allclose(with_mask(padded), without(padded))


def test_arrays_that_carry_masks_give_plain_ones() -> None:
    h = layers.Masking()(X)
    assert type(ops.tanh(h)) is np.ndarray and type(ops.concatenate([h, h])) is np.ndarray


def test_types_of_arrays_alone() -> None:
    assert ops.add(1, 2).dtype == np.int32 and ops.add(1, 2.0).dtype == np.float32
    assert ops.mean([1, 2]).dtype == np.float32 and ops.sum([[1.0, 2.0]]).dtype == np.float32
    assert ops.multiply(np.float64([1]), 2).dtype == np.float64 and ops.sqrt(np.int64([4])).dtype == np.float32
    assert ops.convert_to_tensor(2.5).dtype == np.float32 and ops.convert_to_tensor([1], "float64").dtype == np.float64
    assert ops.arange(3).dtype == np.int32 and ops.linspace(0, 1, 3).dtype == np.float32
    assert ops.sum(np.array([True, True])).tolist() == 2
    assert [part.tolist() for part in ops.meshgrid([1, 2], [3, 4, 5])] == [
        p.tolist() for p in np.meshgrid([1, 2], [3, 4, 5])
    ]


X_AXIS = {"x": {"input": 0}}


@pytest.mark.parametrize(
    "function, arguments, words",
    [
        ("nothing", {}, "no `function`"),
        ("tanh", {"y": 1}, "unexpected"),
        ("tanh", [1], "must be a dict"),
        ("add", {"x1": {"input": 0}, "x2": {"input": 10**12}}, "takes 2 input"),
        ("add", {"x1": {"input": 0}, "x2": {"array": [1.0], "shape": [10**9], "dtype": "float32"}}, "reshape"),
        ("add", {"x1": {"input": 0}, "x2": {"array": [1], "shape": [1], "dtype": "O"}}, "dtype of numbers"),
        ("add", {"x1": {"input": 0}, "x2": {"lambda": "YQ=="}}, "must be a number, a list"),
        ("reshape", {**X_AXIS, "newshape": [2**62] * 100_000}, "at most 32 axes, got 100,000"),
        ("reshape", {**X_AXIS, "newshape": [10**4000]}, "integers of 64 bits"),
        ("split", {**X_AXIS, "indices_or_sections": 10**12, "axis": 1}, "1 to 65,536"),
        ("unstack", {**X_AXIS, "num": 10**9, "axis": 1}, "the most is 65,536"),
        ("tile", {**X_AXIS, "repeats": [1] * 40}, "40 axes, the most is 32"),
        ("split", {**X_AXIS, "indices_or_sections": 65_000, "axis": 1}, "called more than 30,000 times"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_configurations_from_elsewhere(function: str, arguments: Any, words: str) -> None:
    """What a file may say is refused before it takes time or memory."""
    x = Input((None, 4), name="x")
    config = Model(x, layers.Operation("tanh", {"x": Slot(0)}, name="t")(x)).get_config()
    entry = config["layers"][1]
    entry["config"].update(function=function, arguments=arguments)
    entry["calls"] *= 5
    with weights_limited(None), pytest.raises((TypeError, ValueError), match=words):
        Model.from_config(config)
