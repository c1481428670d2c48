"""Batch normalization of a batch that is run in parts."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rnnx import layers
from rnnx.layers.normalization import sum_over_parts


def test_batch_normalization_of_parts_of_a_batch():
    """Parts that sum their statistics give what the whole batch gives, their gradients add up to its own."""
    x = np.random.default_rng(2).normal(size=(7, 4, 3))
    mask = np.arange(4) < np.array([4, 2, 0, 4, 1, 3, 4])[:, None]
    dy = np.random.default_rng(3).normal(size=x.shape)
    rows = [slice(0, 2), slice(2, 3), slice(3, 7)]
    barrier, given = threading.Barrier(len(rows)), [None] * len(rows)

    def of(which, k=None):
        layer = layers.BatchNormalization(dtype="float64", epsilon=0.1)
        layer.build((None, None, 3))
        layer.set_weights([np.array([1.0, 2.0, 0.5]), np.array([0.1, 0.2, 0.3]), *layer.get_weights()[2:]])

        def summed(values):
            given[k] = np.asarray(values)
            barrier.wait()
            found = sum(given)
            barrier.wait()
            return found

        token = sum_over_parts.set(None if k is None else summed)
        y, pullback = layer.vjp(x[which], mask=mask[which], training=True)
        grads = pullback(dy[which])
        sum_over_parts.reset(token)
        return y, grads.dx, grads.dweights[:2], layer.get_weights()[2:]

    y, dx, dweights, averages = of(slice(None))
    with ThreadPoolExecutor(len(rows)) as pool:
        parts = list(pool.map(of, rows, range(len(rows))))
    np.testing.assert_allclose(np.concatenate([part[0] for part in parts]), y, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts]), dx, rtol=1e-12, atol=1e-14)
    for k in range(2):
        np.testing.assert_allclose(sum(part[2][k] for part in parts), dweights[k], rtol=1e-12)
        for part in parts:
            np.testing.assert_allclose(part[3][k], averages[k], rtol=1e-12)
