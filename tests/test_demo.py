"""The demo in a small form, and its data."""

import numpy as np

from rnnx import demo
from rnnx._bench.numpy_loop import NumpyGRU
from rnnx.datasets import load_japanese_vowels
from rnnx.functional import GRUParams, gru


def test_data_are_those_of_the_archive():
    (x, y), (x_test, y_test) = load_japanese_vowels()
    assert (len(x), len(x_test)) == (270, 370)
    assert {a.shape[1] for a in x + x_test} == {12} and {a.dtype for a in x + x_test} == {np.dtype(np.float32)}
    assert min(map(len, x + x_test)) == 7 and max(map(len, x + x_test)) == 29
    assert np.bincount(y).tolist() == [30] * 9
    assert np.bincount(y_test).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_demo_runs_through(capsys):
    found = demo.run(units=16, epochs=3, seeds=1)
    text = capsys.readouterr().out
    assert found["same"] and "the same bits" in text
    for name, _ in demo.ARMS:
        assert name in text and 0.3 < found[name]["train"] <= 1 and found[name]["seconds"] > 0


def test_its_numpy_loop_is_the_same_network():
    rng = np.random.default_rng(0)
    kernel, recurrent, bias = (rng.normal(size=s, scale=0.3) for s in ((3, 12), (4, 12), (2, 12)))
    x, dy = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4))
    run = gru.forward(GRUParams(kernel, recurrent, bias), x, training=True)
    grads = gru.backward(run.cache, dy)
    loop = NumpyGRU(kernel, recurrent, bias)
    np.testing.assert_allclose(loop.forward(x.swapaxes(0, 1)).swapaxes(0, 1), run.outputs, atol=1e-12)
    dx, dkernel, drecurrent, dbias = loop.backward(dy.swapaxes(0, 1))
    np.testing.assert_allclose(dx.swapaxes(0, 1), grads.dx, atol=1e-11)
    for got, name in ((dkernel, "kernel"), (drecurrent, "recurrent_kernel"), (dbias, "bias")):
        np.testing.assert_allclose(got, getattr(grads.dparams, name), atol=1e-11)
