"""What the golden values do not show: mistakes, streams, several ways to give the same."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers

RNG = np.random.default_rng(8)
X = RNG.normal(3, 2, size=(20, 5, 3)).astype("float32")


def test_normalization_of_batches_is_that_of_all() -> None:
    whole, parts, dataset = (layers.Normalization() for _ in range(3))
    whole.adapt(X)
    parts.adapt(x for x in (X[:3], X[3:4], X[4:]))
    dataset.adapt([(X[:5], 1), (X[5:], 2)])
    for other in (parts, dataset):
        for a, b in zip(whole.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    y = whole(X)
    np.testing.assert_allclose(y.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1)), 1, rtol=1e-4)
    assert whole.mean.shape == whole.variance.shape == (1, 1, 3)
    with pytest.raises(ValueError, match="do not fit"):
        whole.adapt(X[..., :2])
    parts.adapt(x for x in [X[:2]])
    np.testing.assert_allclose(parts.mean[0, 0], X[:2].mean(axis=(0, 1)), rtol=1e-5)


def test_normalization_in_models_streams_and_files(tmp_path: Any) -> None:
    layer = layers.Normalization()
    layer.adapt(X)
    model = rnnx.Sequential([rnnx.Input((None, 3)), layer, layers.Rescaling(0.5, 1.0), layers.GRU(4), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X, X[:, 0, :1], verbose=0)
    assert layer.trainable_weights == []
    expected = model.predict(X)
    stream = model.stream(20)
    for t in range(5):
        y = stream.step(X[:, t])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    for suffix in ("safetensors", "keras", "h5"):
        model.save(tmp_path / f"m.{suffix}")
        np.testing.assert_array_equal(rnnx.load_model(tmp_path / f"m.{suffix}").predict(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected)


def test_masks_go_on_through_scaling() -> None:
    masked = layers.Rescaling(2.0)(layers.Masking()(np.array([[[1.0], [0.0]]])))
    assert masked.mask.tolist() == [[True, False]]
    assert not hasattr(layers.CategoryEncoding(9)(layers.Masking()(np.array([[[1.0], [0.0]]]))), "mask")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.Normalization(mean=1.0), "`mean` and `variance`"),
        (lambda: layers.Normalization(mean=[1.0], variance=[1.0, 2.0]), "one shape"),
        (lambda: layers.Normalization(axis=None, mean=[1.0], variance=[1.0]), "as many axes as `axis` names, 0"),
        (lambda: layers.Normalization(axis="last"), "axis"),
        (lambda: layers.Normalization(axis=3)(X), "no axis"),
        (lambda: layers.Normalization(axis=1)(rnnx.Input((None, 3))), "must be known"),
        (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 2.0])(X), "does not fit"),
        (lambda: layers.Normalization(mean=1.0, variance=2.0).adapt(X), "nothing to adapt"),
        (lambda: layers.Normalization().adapt([]), "no data"),
        (lambda: layers.Rescaling("big"), "scale"),
        (lambda: layers.Rescaling(np.ones((4, 1, 1, 3)))(X), "would get the shape"),
        (lambda: layers.CategoryEncoding(), "num_tokens"),
        (lambda: layers.CategoryEncoding(3, "int"), "output_mode"),
        (lambda: layers.CategoryEncoding(3)([0, 3]), r"0..2 \(num_tokens - 1\), got 3"),
        (lambda: layers.CategoryEncoding(3)([-1]), "got -1"),
        (lambda: layers.CategoryEncoding(3)([0, 1], count_weights=[1.0, 1.0]), "output_mode='count'"),
        (lambda: layers.CategoryEncoding(3, "count")([0, 1], [1.0]), r"shape \(2,\), got \(1,\)"),
        (lambda: layers.Discretization(), "bin_boundaries"),
        (lambda: layers.Discretization([1.0], 3), "one of them"),
        (lambda: layers.Discretization([2.0, 1.0]), "must go up"),
        (lambda: layers.Discretization([1.0]).adapt(X), "num_bins"),
        (lambda: layers.Discretization(num_bins=2, epsilon=0), "epsilon"),
        (lambda: layers.Discretization(num_bins=2).adapt([]), "no data"),
        (lambda: layers.Hashing(0), "num_bins"),
        (lambda: layers.Hashing(3, salt=(1, 2, 3)), "salt"),
        (lambda: layers.StringLookup(max_tokens=1), "max_tokens"),
        (lambda: layers.StringLookup(num_oov_indices=-1), "num_oov_indices"),
        (lambda: layers.StringLookup(invert=True, output_mode="count"), "invert"),
        (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "idf_weights"),
        (lambda: layers.StringLookup(vocabulary=["a", "m"], mask_token="m"), "'m' is a special word"),
        (lambda: layers.StringLookup(vocabulary=["a", "[UNK]"], invert=True), "special word"),
        (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["a", "b"]), "'b' is not"),
        (lambda: layers.StringLookup(vocabulary=["a"], vocabulary_dtype="int64"), "IntegerLookup"),
        (lambda: layers.IntegerLookup(vocabulary=[1], salt=3), "farmhash"),
        (lambda: layers.IntegerLookup(vocabulary_dtype="float32"), "vocabulary_dtype"),
        (lambda: layers.IntegerLookup(oov_method="md5"), "oov_method"),
    ],
)
def test_mistakes_are_named(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_what_was_not_adapted_says_so() -> None:
    for layer in (layers.StringLookup(), layers.Discretization(num_bins=2)):
        with pytest.raises(RuntimeError, match="adapt"):
            layer(["a"] if isinstance(layer, layers.StringLookup) else [1.0])
    for wrong in (layers.IntegerLookup(vocabulary=[1]), layers.CategoryEncoding(2)):
        with pytest.raises(TypeError, match="must be integers"):
            wrong([0.5])


def test_lookups_in_models(tmp_path: Any) -> None:
    names = np.array([["ann"], ["bob"], ["eve"], ["bob"]])
    known = layers.StringLookup(output_mode="one_hot")
    known.adapt(names)
    rooms = layers.IntegerLookup(vocabulary=[101, 205], num_oov_indices=2)
    a, b = rnnx.Input((1,), dtype="string"), rnnx.Input((1,), dtype="int64")
    rows = layers.CategoryEncoding(4, "one_hot")(rooms(b))
    model = rnnx.Model([a, b], layers.Dense(2)(layers.Concatenate()([known(a), rows])))
    x = [names, np.array([[101], [7], [205], [8]])]
    expected = model.predict(x)
    for suffix in ("safetensors", "keras", "h5"):
        model.save(tmp_path / f"m.{suffix}")
        again = rnnx.load_model(tmp_path / f"m.{suffix}")
        np.testing.assert_array_equal(again.predict(x), expected)
        assert again.get_layer(known.name).get_vocabulary() == ["[UNK]", "bob", "eve", "ann"]
    back = layers.StringLookup(vocabulary=known.get_vocabulary(), invert=True)
    ids = layers.StringLookup(vocabulary=known.get_vocabulary())(names)
    assert back(ids).tolist() == names.tolist()
    assert rnnx.Sequential([rnnx.Input((1,), dtype="int64"), back]).predict(ids).tolist() == names.tolist()


def test_an_adapted_discretization_is_saved(tmp_path: Any) -> None:
    layer = layers.Discretization(num_bins=4, output_mode="one_hot")
    layer.adapt(X)
    model = rnnx.Sequential([rnnx.Input((1,)), layer])
    x = np.array([[0.0], [3.0], [9.0]])
    for suffix in ("safetensors", "keras"):
        model.save(tmp_path / f"m.{suffix}")
        np.testing.assert_array_equal(rnnx.load_model(tmp_path / f"m.{suffix}").predict(x), model.predict(x))
    assert model.predict(x).shape == (3, 4)


def test_a_last_axis_of_one_may_be_left_out_or_added() -> None:
    one = rnnx.Sequential([rnnx.Input((1,)), layers.Rescaling(2.0)])
    assert one.predict(np.array([1.0, 2.0])).tolist() == [[2.0], [4.0]]
    steps = rnnx.Sequential([rnnx.Input((3, 1)), layers.Rescaling(2.0)])
    assert steps.predict(np.ones((2, 3))).shape == (2, 3, 1)
    ids = rnnx.Sequential([rnnx.Input((3,)), layers.Rescaling(2.0)])
    assert ids.predict(np.ones((2, 3, 1))).shape == (2, 3)
    with pytest.raises(ValueError, match="must have shape"):
        ids.predict(np.ones((2, 3, 2)))
