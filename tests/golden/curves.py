"""Twenty steps of Adam, the same in rnnx, Keras and PyTorch: same weights, data and batches, no dropout.

`keras_curve` runs the words that Keras and rnnx share; `torch_curve` says the same in PyTorch's words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .convert import to_torch
from .store import random_like

ROWS, BATCH, TIMESTEPS, FEATURES, UNITS, CLASSES, STEPS = 32, 8, 7, 4, 6, 3, 20
RATE, EPSILON = 0.02, 1e-7


@dataclass(frozen=True)
class Problem:
    """What a training run starts from.

    Attributes
    ----------
    x : array of shape (ROWS, TIMESTEPS, FEATURES)
        Rows shorter than the rest are padded with zeros on the right.
    y : array
        Class numbers, or a target for every step.
    lengths : array of shape (ROWS,)
    weights : list of arrays
        Initial weights in the order of Keras.
    """

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray
    weights: list[np.ndarray]

    def batch(self, step: int) -> slice:
        """Return the rows of one step: the batches come in turn, without shuffling."""
        start = step * BATCH % ROWS
        return slice(start, start + BATCH)


def problem(name: str) -> Problem:
    """Draw one of the two problems of `CURVES`."""
    rng = np.random.default_rng(20269)
    x = rng.normal(size=(ROWS, TIMESTEPS, FEATURES)).astype(np.float32)
    if name == "classes":
        y = (x.sum(axis=(1, 2)) > 0).astype(np.int32) + (x[:, -1, 0] > 0.5)
        first = [(FEATURES, 3 * UNITS), (UNITS, 3 * UNITS), (2, 3 * UNITS)]
        second = [(UNITS, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
        weights = random_like(rng, [*first, *second, (UNITS, CLASSES), (CLASSES,)], scale=0.4)
        return Problem(x, y.astype(np.int32), np.full(ROWS, TIMESTEPS), weights)
    lengths = rng.integers(1, TIMESTEPS + 1, size=ROWS)
    x[np.arange(TIMESTEPS) >= lengths[:, None]] = 0
    y = np.cumsum(x[:, :, :2], axis=1)
    shapes = [(FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,), (UNITS, 2), (2,)]
    return Problem(x, y, lengths, random_like(rng, shapes, scale=0.4))


def classes_model(api: Any, dtype: str) -> tuple[Any, str]:
    """Build a GRU below an LSTM below a softmax."""
    layers = api.layers
    parts = [
        api.Input(shape=(TIMESTEPS, FEATURES), dtype=dtype),
        layers.GRU(UNITS, return_sequences=True, dtype=dtype),
        layers.LSTM(UNITS, dtype=dtype),
        layers.Dense(CLASSES, activation="softmax", dtype=dtype),
    ]
    return api.Sequential(parts), "sparse_categorical_crossentropy"


def steps_model(api: Any, dtype: str) -> tuple[Any, str]:
    """Build a masked LSTM with a target for every step."""
    layers = api.layers
    parts = [
        api.Input(shape=(TIMESTEPS, FEATURES), dtype=dtype),
        layers.Masking(mask_value=0.0, dtype=dtype),
        layers.LSTM(UNITS, return_sequences=True, dtype=dtype),
        layers.Dense(2, dtype=dtype),
    ]
    return api.Sequential(parts), "mean_squared_error"


CURVES: dict[str, Callable[[Any, str], tuple[Any, str]]] = {"classes": classes_model, "steps": steps_model}


def keras_curve(api: Any, name: str, dtype: str) -> np.ndarray:
    """Return the loss of each step, by ``keras`` or ``rnnx``."""
    task = problem(name)
    model, loss = CURVES[name](api, dtype)
    model.compile(optimizer=api.optimizers.Adam(RATE, epsilon=EPSILON), loss=loss)
    model.set_weights([weight.astype(dtype) for weight in task.weights])
    losses = []
    for step in range(STEPS):
        rows = task.batch(step)
        logs = model.fit(task.x[rows], task.y[rows], batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
        losses.append(logs.history["loss"][0])
    return np.array(losses)


def torch_curve(name: str, dtype: str) -> np.ndarray:
    """Return the loss of each step, by PyTorch; short rows are packed."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    task = problem(name)
    kind = getattr(torch, dtype)
    kinds = [("GRU", FEATURES), ("LSTM", UNITS)] if name == "classes" else [("LSTM", FEATURES)]
    networks = [getattr(torch.nn, cell)(width, UNITS, batch_first=True, dtype=kind) for cell, width in kinds]
    dense = torch.nn.Linear(UNITS, len(task.weights[-1]), dtype=kind)
    arrays = [part for n, (cell, _) in enumerate(kinds) for part in to_torch(cell, task.weights[3 * n : 3 * n + 3])]
    arrays += [task.weights[-2].T, task.weights[-1]]
    parameters = [parameter for module in (*networks, dense) for parameter in module.parameters()]
    with torch.no_grad():
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.copy_(torch.tensor(np.ascontiguousarray(array)))
    for network, (cell, _) in zip(networks, kinds, strict=True):
        # Where Keras has one bias, two would learn twice as fast.
        network.bias_hh_l0.requires_grad_(cell == "GRU")
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=RATE)
    losses = []
    for step in range(STEPS):
        rows = task.batch(step)
        lengths = torch.tensor(task.lengths[rows])
        source: Any = torch.tensor(task.x[rows].astype(dtype))
        packed = pack_padded_sequence(source, lengths, batch_first=True, enforce_sorted=False)
        for network in networks:
            packed, _ = network(packed)
        outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=TIMESTEPS)
        target = torch.tensor(task.y[rows])
        if name == "classes":
            loss = torch.nn.functional.cross_entropy(dense(outputs[:, -1]), target.long())
        else:
            valid = torch.arange(TIMESTEPS) < lengths[:, None]
            loss = ((dense(outputs) - target.to(kind)) ** 2).mean(dim=-1)[valid].mean()
        optimizer.zero_grad()
        loss.backward()
        # Keras adds epsilon before the correction of the second moment, PyTorch after it.
        optimizer.param_groups[0]["eps"] = EPSILON / (1 - 0.999 ** (step + 1)) ** 0.5
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)
