"""What every layer must do, as one harness: `check_layer` runs all of it on a layer and an example input."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx import Input, Model
from rnnx._nested import is_shape, leaves
from rnnx.layers.registry import layer_config, layer_from_config

EPSILON = 1e-6
SAMPLES = 6  # numbers of each array whose derivative is checked


@dataclass
class Example:
    """A layer under test.

    Attributes
    ----------
    make : callable ``(**kwargs) -> layer``
    inputs : list of arrays, float64 or integer
        More than one for layers that merge.
    noisy : bool
        Whether training=True draws noise.
    call : dict
        Further arguments of each call.
    moves : bool
        Whether training=True changes trained weights, so that its gradient is not that at the weights before.
    mask : "keep", "drop" or "own"
        What becomes of a mask of the steps.
    whole_numbers : bool
        Whether the input is ids, which have no gradient.
    """

    make: Callable[..., Any]
    inputs: list[Any]
    noisy: bool = False
    mask: str = "keep"
    whole_numbers: bool = False
    call: dict[str, Any] = field(default_factory=dict)
    moves: bool = False

    @property
    def x(self) -> Any:
        return self.inputs if len(self.inputs) > 1 else self.inputs[0]


def as_list(value: Any) -> list[Any]:
    """One value, or those of a list and of the lists inside it."""
    return [part for inner in value for part in as_list(inner)] if isinstance(value, (list, tuple)) else [value]


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(one, two) for one, two in zip(as_list(a), as_list(b), strict=True))


def reset_noise(layer: Any) -> None:
    for generator in layer.seed_generators():
        generator.state = (generator.state[0], 0)


def randomize(layer: Any) -> None:
    """Asymmetric weights, none of them 0; variances stay positive."""
    rng = np.random.default_rng(11)
    layer.set_weights([np.abs(rng.normal(size=w.shape)) * 0.4 + 0.1 * rng.random(w.shape) for w in layer.weights])


def built(example: Example, **kwargs: Any) -> Any:
    layer = example.make(**kwargs)
    layer(example.x)
    randomize(layer)
    return layer


def check_shapes(example: Example) -> None:
    layer = example.make(dtype="float32")
    y = layer(example.x)
    assert layer.built
    shapes = [tuple(x.shape) for x in example.inputs]
    expected = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
    assert [tuple(part.shape) for part in as_list(y)] == [tuple(shape) for shape in leaves(expected, is_shape)]
    assert layer.count_params() == sum(w.size for w in layer.get_weights())


def check_dtypes(example: Example) -> None:
    for dtype in ("float32", "float64"):
        layer = built(example, dtype=dtype)
        for training in (False, True):
            y, pullback = layer.vjp(example.x, training=training)
            assert all(part.dtype == dtype for part in as_list(y))
            grads = pullback(y)
            found = [g for g in [*as_list(grads.dx), *grads.dweights] if g is not None]
            assert all(g.dtype == dtype for g in found), [g.dtype for g in found]
        assert all(w.dtype == dtype for w in layer.get_weights())
    one, two = (built(example, dtype=dtype) for dtype in ("float32", "float64"))
    for a, b in zip(as_list(one(example.x)), as_list(two(example.x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def check_symbolic(example: Example) -> None:
    layer = built(example, dtype="float64")
    entries = [
        Input(x.shape[1:], dtype="int64" if example.whole_numbers else "float64", name=f"input_{k}")
        for k, x in enumerate(example.inputs)
    ]
    y = layer(entries if len(entries) > 1 else entries[0])
    model = Model(entries if len(entries) > 1 else entries[0], y)
    eager = layer(example.x)
    assert equal(model(example.x), eager)
    for tensor, value in zip(as_list(y), as_list(eager), strict=True):
        assert len(tensor.shape) == value.ndim
        assert all(want in (None, got) for want, got in zip(tensor.shape[1:], value.shape[1:], strict=True))


def check_gradients(example: Example, **call: Any) -> None:
    """Central differences of a random projection of all outputs, for inputs and weights, with noise held fixed."""
    for training in (False,) if example.moves else (False, True):
        layer = built(example, dtype="float64")
        before = layer.get_weights()
        inputs = [np.array(x) for x in example.inputs]
        rng = np.random.default_rng(5)

        def run(keep: bool, inputs: Any = inputs, layer: Any = layer, training: bool = training) -> Any:
            reset_noise(layer)
            x = inputs if len(inputs) > 1 else inputs[0]
            options = {"training": training, **example.call, **call}
            return layer.vjp(x, **options) if keep else layer(x, **options)

        y, pullback = run(True)
        slopes = [rng.normal(size=part.shape) for part in as_list(y)]
        grads = pullback(slopes if isinstance(y, list) else slopes[0])
        layer.set_weights(before)

        def value(run: Any = run, slopes: Any = slopes, layer: Any = layer, before: Any = before) -> float:
            found = sum(float((s * part).sum()) for s, part in zip(slopes, as_list(run(False)), strict=True))
            for weight, kept in zip(layer.weights, before, strict=True):
                if not weight.trainable:  # moving statistics
                    weight.assign(kept)
            return found

        checked: list[tuple[str, Any, Any, Any]] = []
        if not example.whole_numbers:
            checked += [("input", x, dx, None) for x, dx in zip(inputs, as_list(grads.dx), strict=True)]
        checked += [
            (weight.name, weight.value, d, weight)
            for weight, d in zip(layer.weights, grads.dweights, strict=True)
            if weight.trainable
        ]
        for name, array, gradient, weight in checked:
            assert gradient is not None and gradient.shape == array.shape, name
            for flat in rng.choice(array.size, min(SAMPLES, array.size), replace=False):
                place = np.unravel_index(flat, array.shape)
                ends = []
                for sign in (1, -1):
                    array = array if weight is None else weight.mutable()
                    kept = array[place]
                    array[place] = kept + sign * EPSILON
                    ends.append(value())
                    array = array if weight is None else weight.mutable()
                    array[place] = kept
                slope = (ends[0] - ends[1]) / (2 * EPSILON)
                np.testing.assert_allclose(
                    gradient[place], slope, rtol=1e-5, atol=2e-7, err_msg=f"{name} {place} training={training}"
                )


def check_weights(example: Example) -> None:
    layer, other = built(example), example.make()
    other(example.x)
    other.set_weights(layer.get_weights())
    assert equal(layer(example.x), other(example.x))
    assert equal(layer.get_weights(), other.get_weights())
    copies = layer.get_weights()
    for copy in copies:
        copy += 1
    assert all(not np.array_equal(a, b) for a, b in zip(copies, layer.get_weights(), strict=True))
    assert len(layer.trainable_weights + layer.non_trainable_weights) == len(copies)


def check_config(example: Example) -> None:
    import json

    layer = built(example)
    entry = json.loads(json.dumps(layer_config(layer)))
    twin = layer_from_config(entry)
    assert type(twin) is type(layer) and twin.name == layer.name
    twin(example.x)
    twin.set_weights(layer.get_weights())
    assert json.loads(json.dumps(layer_config(twin))) == entry
    for one in (layer, twin):
        reset_noise(one)
    assert equal(layer(example.x, **example.call), twin(example.x, **example.call))
    if example.noisy:
        assert equal(layer(example.x, training=True), twin(example.x, training=True))


def check_mask(example: Example) -> None:
    layer = built(example)
    x = example.x
    rows, steps = example.inputs[0].shape[:2]
    mask = np.arange(steps) < np.arange(rows)[:, None] % steps + 1
    given = [mask] * len(example.inputs) if len(example.inputs) > 1 else mask
    found = layer.compute_mask(x, given)
    first = found[0] if isinstance(found, list) else found
    if example.mask == "keep":
        assert np.array_equal(first, mask)
        unmasked = layer.compute_mask(x, [None] * len(given) if isinstance(given, list) else None)
        assert all(part is None for part in as_list(unmasked))
    elif example.mask == "drop":
        assert first is None
    else:
        assert first is None or (first.dtype == bool and first.shape[0] == rows)


def check_noise(example: Example) -> None:
    layer = built(example)
    quiet = layer(example.x)
    assert equal(quiet, layer(example.x)) and equal(quiet, layer(example.x, training=False))
    if not example.noisy:
        return
    reset_noise(layer)
    assert equal(quiet, layer(example.x))
    counters = [generator.state for generator in layer.seed_generators()]
    assert counters == [(state[0], 0) for state in counters], "inference draws nothing"
    first, second = layer(example.x, training=True), layer(example.x, training=True)
    assert not equal(first, quiet) and not equal(first, second)
    reset_noise(layer)
    assert equal(layer(example.x, training=True), first) and equal(layer(example.x, training=True), second)


def check_trainable(example: Example) -> None:
    layer = built(example)
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == len(layer.weights)
    before = layer.get_weights()
    y, pullback = layer.vjp(example.x, training=True)
    grads = pullback(y)
    assert grads.dweights == [None] * len(layer.weights)
    assert equal(before, layer.get_weights())
    if not example.whole_numbers:
        assert [dx.shape for dx in as_list(grads.dx)] == [x.shape for x in example.inputs]
    layer.trainable = True
    y, pullback = layer.vjp(example.x)
    assert pullback(y, need_dx=False).dx is None
    given = pullback(y).dweights
    assert [g is not None for g in given] == [w.trainable for w in layer.weights]


def check_threads(example: Example, threads: int = 4) -> None:
    layer = built(example)
    expected = layer(example.x)
    results: list[Any] = [None] * threads

    def work(k: int) -> None:
        results[k] = [layer(example.x) for _ in range(5)]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(equal(y, expected) for found in results for y in found)


CHECKS: dict[str, Callable[[Example], None]] = {
    "shapes": check_shapes,
    "dtypes": check_dtypes,
    "symbolic": check_symbolic,
    "gradients": check_gradients,
    "weights": check_weights,
    "config": check_config,
    "mask": check_mask,
    "noise": check_noise,
    "trainable": check_trainable,
    "threads": check_threads,
}
