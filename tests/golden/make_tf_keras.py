"""Make ``tf_keras.npz``: dropout of tf.keras 2 (TensorFlow 2.2 to 2.15), with its masks and gradients.

Environment: ``pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0``.
Command, from the root of the repository: ``python -m tests.golden.make_tf_keras``.

tf.keras 2 chooses among three kinds of masks by the other arguments of the layer. TensorFlow's generator
cannot be reproduced elsewhere, so the masks that it drew are stored with the results, which are float64. The
rates are chosen so that float32 holds 1 / (1 - rate) exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from .store import Case, build_layer, random_like, save

BATCH, TIMESTEPS, FEATURES, UNITS = 3, 5, 4, 3
ARGUMENTS: list[dict[str, Any]] = [
    {"dropout": 0.5},
    {"recurrent_dropout": 0.5},
    {"dropout": 0.5, "recurrent_dropout": 0.2},
    {"dropout": 0.5, "unroll": True},
    {"dropout": 0.5, "use_bias": False},
    {"dropout": 0.5, "activation": "relu"},
    {"dropout": 0.5, "recurrent_activation": "hard_sigmoid"},
    {"dropout": 0.5, "go_backwards": True},
    {"dropout": 0.5, "recurrent_dropout": 0.2, "go_backwards": True},
]


def capture(mixin: Any) -> dict[str, Any]:
    """Keep the masks that a cell (or a layer in its fused path) asks for.

    The fused path draws one mask per gate over the whole input and uses the first, see `kept`.
    """
    seen: dict[str, Any] = {}

    def spying(kind: str, get: Callable[..., Any]) -> Callable[..., Any]:
        def getting(inputs: Any, training: Any, count: int = 1) -> Any:
            masks = get(inputs, training, count=count)
            if masks is not None:
                seen[kind] = masks
            return masks

        return getting

    mixin.get_dropout_mask_for_cell = spying("inputs", mixin.get_dropout_mask_for_cell)
    mixin.get_recurrent_dropout_mask_for_cell = spying("recurrent", mixin.get_recurrent_dropout_mask_for_cell)
    return seen


def kept(masks: Any, per_gate: bool) -> np.ndarray:
    """Return captured masks as (gates, batch, timesteps or 1, width), of the gates that were really used."""
    gates = [mask.numpy() for mask in (masks if isinstance(masks, list) else [masks])]
    array = np.stack(gates if per_gate else gates[:1])
    return array if array.ndim == 4 else array[:, :, None, :]


def record(name: str, kwargs: dict[str, Any], rng: np.random.Generator, mask: np.ndarray | None) -> Case:
    """Run one layer in training, forward and backward."""
    layer = build_layer(tf_keras.layers, {"class": name, "kwargs": kwargs}, dtype="float64")
    layer.build((BATCH, TIMESTEPS, FEATURES))
    weights = random_like(rng, [tuple(weight.shape) for weight in layer.weights])
    layer.set_weights(weights)
    fused = getattr(layer, "_could_use_gpu_kernel", False)
    seen = capture(layer if fused else layer.cell)
    x = random_like(rng, [(BATCH, TIMESTEPS, FEATURES)])[0]
    states = random_like(rng, [(BATCH, UNITS)] * (2 if name == "LSTM" else 1))
    x_tensor = tf.constant(x.astype(np.float64))
    state_tensors = [tf.constant(state.astype(np.float64)) for state in states]
    with tf.GradientTape() as tape:
        tape.watch([x_tensor, *state_tensors])
        ys = layer(x_tensor, mask=mask, initial_state=state_tensors, training=True)
        dys = random_like(rng, [tuple(y.shape) for y in ys], scale=1.0)
        total = sum(tf.reduce_sum(y * dy) for y, dy in zip(ys, dys, strict=True))
    gradients = tape.gradient(total, [x_tensor, *state_tensors, *layer.trainable_weights])

    per_gate = kwargs.get("recurrent_dropout", 0) > 0
    case = Case({"spec": {"class": name, "kwargs": kwargs}, "training": True})
    case.put("x", [x])
    case.put("weights", weights)
    case.put("mask", mask)
    case.put("initial_state", states)
    for kind, masks in seen.items():
        case.put(f"masks/{kind}", kept(masks, per_gate).astype(np.float32))
    case.put("y", [y.numpy() for y in ys])
    case.put("dy", dys)
    case.put("dx", [gradients[0].numpy()])
    case.put("dinitial_state", [g.numpy() for g in gradients[1 : 1 + len(states)]])
    case.put("dweights", [g.numpy() for g in gradients[1 + len(states) :]])
    return case


def cases(rng: np.random.Generator) -> dict[str, Case]:
    """Run every layer with every combination of arguments that selects another kind of mask."""
    made = {}
    variants = [("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False}), ("SimpleRNN", {})]
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 1, 0, 0]], dtype=bool)
    for (name, variant), arguments, masked in itertools.product(variants, ARGUMENTS, [False, True]):
        if name == "SimpleRNN" and "recurrent_activation" in arguments:
            continue
        label = "-".join([name, *(f"{key}={value}" for key, value in (variant | arguments).items())])
        kwargs = variant | arguments | {"units": UNITS, "return_sequences": True, "return_state": True}
        made[f"{label}-mask={masked}"] = record(name, kwargs, rng, mask if masked else None)
    return made


def main() -> None:
    """Write the file."""
    tf_keras.utils.set_random_seed(11)
    tf_keras.backend.set_floatx("float64")
    save("tf_keras", cases(np.random.default_rng(20264)))


if __name__ == "__main__":
    main()
