"""Make ``keras_numpy.npz``: what Keras 3 computes on its numpy backend alone or rightly.

That is the dropout that it draws with its own generator, whose masks are to be equal bit for bit (so everything is
float32, as drawn), and average pooling with uneven padding, where the PyTorch backend counts the padding.

Environment: ``pip install keras==3.15.1 jax==0.10.2 jaxlib`` (the numpy backend borrows functions of JAX).
Command, from the root of the repository: ``python -m tests.golden.make_keras_numpy``.
"""

from __future__ import annotations

import importlib
import itertools
import os
from typing import Any

import numpy as np

from .store import Case, build_layer, random_like, save

os.environ["KERAS_BACKEND"] = "numpy"
keras = importlib.import_module("keras")

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 3
TRAINING = [True, True, False, True]


def stacked(masks: Any) -> np.ndarray:
    """Return one mask or a list of masks of a Keras cell as (gates, batch, 1, width)."""
    masks = masks if isinstance(masks, list) else [masks]
    return np.stack(masks)[:, :, None, :]


def spy(cell: Any) -> dict[str, list[np.ndarray]]:
    """Keep every set of masks that a cell draws, until the layer clears it."""
    seen: dict[str, list[np.ndarray]] = {"inputs": [], "recurrent": []}
    create = cell._create_dropout_mask

    def creating(step_input: Any, rate: float) -> Any:
        masks = create(step_input, rate)
        kind = "inputs" if step_input.shape[-1] == FEATURES else "recurrent"
        seen[kind].append(stacked(masks))
        return masks

    cell._create_dropout_mask = creating
    return seen


def recurrent_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Call recurrent layers several times in a row; each call advances the generator, in training or not."""
    cases = {}
    variants = [("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("SimpleRNN", {})]
    for (name, variant), (rate, recurrent_rate) in itertools.product(variants, [(0.5, 0.0), (0.0, 0.3), (0.2, 0.3)]):
        kwargs = dict(variant, units=UNITS, dropout=rate, recurrent_dropout=recurrent_rate, return_sequences=True)
        x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
        mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 0, 0, 0]], dtype=bool)
        layer = build_layer(keras.layers, {"class": name, "kwargs": dict(kwargs, seed=1234)})
        layer.build(x.shape)
        weights = random_like(rng, [tuple(weight.shape) for weight in layer.weights])
        layer.set_weights(weights)
        seen = spy(layer.cell)
        case = Case({"spec": {"class": name, "kwargs": kwargs}, "seed": 1234, "training": TRAINING})
        case.put("x", [x])
        case.put("mask", mask)
        case.put("weights", weights)
        case.put("y", [np.asarray(layer(x, training=training)) for training in TRAINING])
        case.put("y_masked", np.asarray(layer(x, mask=mask, training=True)))
        for kind, masks in seen.items():
            case.put(f"masks/{kind}", masks)
        case.config["counter"] = int(layer.cell.seed_generator.state.numpy()[1])
        cases["-".join([name, *map(str, [*variant.values(), rate, recurrent_rate])])] = case
    return cases


def noise_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Call the layers of the Dropout family several times in a row."""
    specs: list[dict[str, Any]] = [
        {"class": "Dropout", "kwargs": {"rate": rate, "noise_shape": shape}}
        for rate in (0.1, 0.5, 0.7)
        for shape in (
            None,
            (None, 1, None),
            (None, None, 1),
            (1, 1, None),
            (None, 1, 1),
            (1, 5, 4),
            (3, None, 1),
            (4,),
            (5, 1),
        )
    ]
    specs += [
        {"class": "Dropout", "kwargs": {"rate": 1.0}},
        {"class": "Dropout", "kwargs": {"rate": 0.0}},
        {"class": "SpatialDropout1D", "kwargs": {"rate": 0.4}},
        {"class": "GaussianDropout", "kwargs": {"rate": 0.4}},
        {"class": "AlphaDropout", "kwargs": {"rate": 0.4}},
        {"class": "AlphaDropout", "kwargs": {"rate": 0.3, "noise_shape": (3, 1, 4)}},
    ]
    cases = {}
    x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
    for spec in specs:
        kwargs = dict(spec["kwargs"], seed=77)
        layer = build_layer(keras.layers, {"class": spec["class"], "kwargs": kwargs})
        case = Case({"spec": spec, "seed": 77, "training": TRAINING})
        case.put("x", [x])
        case.put("y", [np.asarray(layer(x, training=training)) for training in TRAINING])
        cases["-".join([spec["class"], *map(str, spec["kwargs"].values())])] = case
    return cases


def pooling_cases(rng: np.random.Generator) -> dict[str, Case]:
    """Average over windows that reach beyond one end of the input only."""
    cases = {}
    x = random_like(rng, [(BATCH, 6, FEATURES)])[0]
    for size, strides in [(2, 1), (4, 3), (4, 1)]:
        spec = {"class": "AveragePooling1D", "kwargs": {"pool_size": size, "strides": strides, "padding": "same"}}
        case = Case({"spec": spec, "training": False})
        case.put("x", [x])
        case.put("y", [np.asarray(build_layer(keras.layers, spec)(x))])
        cases[f"pooling-{size}-{strides}"] = case
    return cases


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(20263)
    save("keras_numpy", recurrent_cases(rng) | noise_cases(rng) | pooling_cases(rng))


if __name__ == "__main__":
    main()
