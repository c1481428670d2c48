"""Inputs and outputs in dicts, tuples and nested lists; models that begin inside another graph; symbolic masks.

The numbers are those of Keras 3.15 with the same weights and data.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats.convert import convert
from rnnx.models import clone_model

A = np.random.default_rng(1).normal(size=(6, 5, 3)).astype("float32")
B = np.random.default_rng(2).normal(size=(6, 2)).astype("float32")


def parts() -> dict[str, Any]:
    """Tensors of a graph with two inputs and three ends, with weights that follow from a seed."""
    a, b = rnnx.Input((5, 3), name="first"), rnnx.Input((2,), name="second")
    h = layers.GRU(4)(a)
    o = layers.Dense(1, name="o_layer")(layers.Concatenate()([h, b]))
    p = layers.Dense(2, name="p_layer")(h)
    whole = rnnx.Model([a, b], [p, o])
    shapes = [(3, 12), (4, 12), (2, 12), (4, 2), (2,), (6, 1), (1,)]
    whole.set_weights([np.random.default_rng(k).normal(size=shape) for k, shape in enumerate(shapes)])
    return {"a": a, "b": b, "h": h, "o": o, "p": p}


def by_key() -> Any:
    t = parts()
    return rnnx.Model({"b": t["b"], "a": t["a"]}, {"z": t["o"], "y": t["p"]})


def sums(y: Any) -> Any:
    if isinstance(y, dict):
        return {key: sums(part) for key, part in y.items()}
    if isinstance(y, (list, tuple)):
        return type(y)([sums(part) for part in y])
    return pytest.approx(float(np.sum(y)), abs=2e-4)


# ---- Forms -----------------------------------------------------------------------------------------------------------


def test_dicts_in_and_out() -> None:
    model = by_key()
    for y in (model({"a": A, "b": B}), model.predict({"a": A, "b": B}), model.predict_on_batch({"a": A, "b": B})):
        assert sums(y) == {"y": -8.9633, "z": 2.6809}
    assert [tensor.name for tensor in model.inputs] == ["first", "second"]  # by the order of the keys
    assert model.input_names == ["a", "b"] and model.output_names == ["y", "z"]
    assert model.output_shape == [(None, 2), (None, 1)] and set(model.output) == {"y", "z"}
    assert model.compute_output_shape({"a": (2, 5, 3), "b": (2, 2)}) == {"y": (2, 2), "z": (2, 1)}
    assert model.predict({"a": A[:0], "b": B[:0]})["y"].shape == (0, 2)


@pytest.mark.parametrize("data", [{"a": A}, {"a": A, "b": B, "c": B}, [A], {"first": A, "second": B}])
def test_other_keys_are_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"inputs.* (b, a|a dict of b, a)"):
        by_key().predict(data)


def test_training_with_dicts() -> None:
    model = by_key()
    model.compile(rnnx.optimizers.SGD(0.01), {"z": "mse", "y": "mae"}, metrics={"z": ["mae"]})
    data, targets = {"a": A, "b": B}, {"z": B[:, :1], "y": B}
    found = model.evaluate(data, targets, verbose=0, return_dict=True)
    assert found == pytest.approx({"loss": 3.2858, "y_loss": 1.4571, "z_loss": 1.8286, "z_mae": 1.1311}, abs=2e-4)
    found = model.fit(data, targets, verbose=0).history
    assert sorted(found) == ["loss", "y_loss", "z_loss", "z_mae"] and found["loss"][0] == pytest.approx(
        3.2858, abs=2e-4
    )
    after = model.evaluate(data, targets, verbose=0, return_dict=True)
    assert after == pytest.approx({"loss": 3.1080, "y_loss": 1.4391, "z_loss": 1.6689, "z_mae": 1.0785}, abs=2e-4)
    again = model.evaluate([(data, targets)], verbose=0, return_dict=True)  # batches that somebody made
    assert again == pytest.approx(after)
    weights = {"z": np.zeros(6)}
    assert model.evaluate(data, targets, sample_weight=weights, verbose=0, return_dict=True)["z_loss"] == 0
    model.fit(data, targets, validation_split=0.5, batch_size=2, verbose=0)
    with pytest.raises(ValueError, match="unknown output.* 'o_layer' in loss; there are y, z"):
        model.compile("sgd", {"o_layer": "mse"})


def test_nested_lists_and_tuples_keep_their_form() -> None:
    t = parts()
    model = rnnx.Model([t["a"], t["b"]], [[t["o"], t["p"]], t["h"]])
    for y in (model([A, B]), model.predict([A, B])):
        assert sums(y) == [[2.6809, -8.9633], 9.0182]
    assert model.output_shape == [(None, 1), (None, 2), (None, 4)]
    model.compile("sgd", "mse")
    model.fit([A, B], [[B[:, :1], B], np.zeros((6, 4))], verbose=0)
    pair = rnnx.Model([t["a"], t["b"]], (t["o"], t["p"]))
    assert type(pair([A, B])) is type(pair.predict([A, B])) is tuple
    one = rnnx.Model({"a": t["a"]}, {"h": t["h"]})
    assert one.input_shape == (None, 5, 3) and one.output_shape == (None, 4)
    one.compile("sgd", "mse")
    assert set(one.fit({"a": A}, {"h": np.zeros((6, 4))}, verbose=0).history) == {"loss"}


def test_gradients_have_the_form_too() -> None:
    model, t = by_key(), parts()
    flat = rnnx.Model([t["a"], t["b"]], [t["p"], t["o"]])
    y, pullback = model.vjp({"a": A, "b": B})
    wanted = flat.vjp([A, B])[1]([np.ones((6, 2), "float32"), None])
    found = pullback({"y": np.ones_like(y["y"]), "z": None})
    np.testing.assert_allclose(found.dx["a"], wanted.dx[0], rtol=0, atol=1e-6)
    for d, want in zip(found.dweights, wanted.dweights, strict=True):
        np.testing.assert_allclose(d, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_files_keep_the_form(suffix: str, tmp_path: Path) -> None:
    model = by_key()
    model.save(tmp_path / f"m{suffix}")
    assert sums(rnnx.load_model(tmp_path / f"m{suffix}").predict({"a": A, "b": B})) == {"y": -8.9633, "z": 2.6809}
    t = parts()
    nested = rnnx.Model([t["a"], t["b"]], [[t["o"], t["p"]], t["h"]])
    nested.save(tmp_path / f"n{suffix}")
    assert sums(rnnx.load_model(tmp_path / f"n{suffix}")([A, B])) == [[2.6809, -8.9633], 9.0182]


def test_copies_keep_the_form(tmp_path: Path) -> None:
    model = by_key()
    for copy in (pickle.loads(pickle.dumps(model)), clone_model(model)):
        copy.set_weights(model.get_weights())
        assert sums(copy({"a": A, "b": B})) == {"y": -8.9633, "z": 2.6809}
    model.save(tmp_path / "m.safetensors")
    assert convert(tmp_path / "m.safetensors", tmp_path / "m.onnx").largest_difference < 1e-5
    pair = rnnx.Model.from_config(rnnx.Model(model.inputs, tuple(model.outputs)).get_config())
    assert type(pair([A, B])) is tuple


def test_symbolic_calls_with_dicts() -> None:
    model, t = by_key(), parts()
    a, b = rnnx.Input((5, 3)), rnnx.Input((2,))
    ends = model({"a": a, "b": b})
    outer = rnnx.Model([a, b], layers.Add()([ends["z"], ends["z"]]))
    assert sums(outer([A, B])) == 2 * 2.6809
    named = rnnx.Model([t["a"], t["b"]], t["o"])
    assert sums(named({"second": B, "first": A})) == 2.6809
    assert sums(rnnx.Model([a, b], named({"first": a, "second": b}))([A, B])) == 2.6809
    with pytest.raises(ValueError, match="expected inputs first, second, got first"):
        named({"first": A})


# ---- Parts of graphs -------------------------------------------------------------------------------------------------


def test_a_model_begins_inside_a_graph() -> None:
    t = parts()
    whole = rnnx.Model([t["a"], t["b"]], [t["p"], t["o"]])
    h = A[:, 0, :1].repeat(4, 1)
    part = rnnx.Model(t["h"], t["p"])
    assert sums(part.predict(h)) == -19.6836
    assert part.get_layer("p_layer") is whole.get_layer("p_layer")
    assert sums(rnnx.Model([t["h"], t["b"]], t["o"]).predict([h, B])) == 0.9321
    assert [layer.name for layer in whole.layers] == ["first", "second", *[x.name for x in whole.layers[2:]]]
    states = layers.LSTM(2)(t["a"], initial_state=[layers.Dense(2)(t["b"])] * 2)
    inner = rnnx.Model([t["a"], states.node.inputs[1]], states)
    assert inner([A, B]).shape == (6, 2)


def test_a_symbolic_mask() -> None:
    x, m = rnnx.Input((5, 3)), rnnx.Input((5,), dtype="bool")
    model = rnnx.Model([x, m], layers.LSTM(2)(x, mask=m))
    model.set_weights([np.full_like(w, 0.1) for w in model.get_weights()])
    mask = np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]] * 3, bool)
    assert sums(model.predict([A, mask])) == 0.4068
    np.testing.assert_array_equal(model([A, mask]), model.layers[-1](A, mask=mask))
    model.compile("sgd", "mse")
    model.fit([A, mask], B, verbose=0)
    again = rnnx.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(model([A, mask]), again([A, mask]))
    y, pullback = model.vjp([A, mask])
    dx, dmask = pullback(np.ones_like(y)).dx
    assert dmask is None and not dx[:, 3:].any() and dx[:, 0].any()
    with pytest.raises(ValueError, match=r"`mask` must have the first axes of the input, \(None, 5\), got \(None, 4\)"):
        layers.LSTM(2)(x, mask=rnnx.Input((4,)))
    with pytest.raises(TypeError, match="a symbolic `mask` needs one symbolic input"):
        layers.Concatenate()([x, x], mask=[m, m])


# ---- Axes of one -----------------------------------------------------------------------------------------------------


def test_an_axis_of_one_more_or_less() -> None:
    x = rnnx.Input((5, 1))
    model = rnnx.Model(x, layers.GRU(2)(x))
    model.set_weights([np.full_like(w, 0.1) for w in model.get_weights()])
    for y in (model(A[:, :, 0]), model.predict(A[:, :, 0])):
        assert y.shape == (6, 2) and sums(y) == 1.6402
    model.compile("sgd", "mse")
    model.fit(A[:, :, 0], B, verbose=0)
    x = rnnx.Input((5,))
    model = rnnx.Model(x, layers.Dense(2)(x))
    model.set_weights([np.full_like(w, 0.1) for w in model.get_weights()])
    assert sums(model.predict(A[:, :, :1])) == 1.0746
    for wrong in (A, A[..., None], A[:, 0, 0]):
        with pytest.raises(ValueError, match=r"must have shape \(batch, 5\)"):
            model.predict(wrong)


def test_a_chain_that_is_not_built_knows_its_output_shape() -> None:
    chain = rnnx.Sequential([layers.LSTM(4, return_sequences=True), layers.Dense(2)])
    assert chain.compute_output_shape((1, None, 2)) == (1, None, 2) and not chain.built
    with pytest.raises(ValueError, match="an input must come first, and there is one input only"):
        rnnx.Sequential([rnnx.Input((2,)), rnnx.Input((2,)), layers.Dense(2)])
