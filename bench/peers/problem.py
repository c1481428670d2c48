"""What driver and workers share: a cell of the grid, its arrays, and what a peer makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = tuple[Array, Array, Array]  # kernel, recurrent kernel, bias as in Keras
Results = dict[str, Array]

WORKS = (
    "step", "sequence", "bidirectional", "training", "dropout", "ragged", "ragged-training", "fit", "int8", "startup",
)  # fmt: skip
GATES = {"lstm": 4, "gru": 3}
DROPOUT, RECURRENT_DROPOUT = 0.5, 0.25
STEPS_TO_CHECK = 3


@dataclass(frozen=True)
class Cell:
    """One cell of the grid; features = units.

    ``masks`` is "per gate" or "shared" for work with dropout, ``model`` one of `fit.MODELS` for `fit`.
    """

    work: str
    kind: str
    batch: int
    timesteps: int
    units: int
    masks: str = ""
    model: str = ""

    def __str__(self) -> str:
        name = f"{self.kind.upper()} B={self.batch} T={self.timesteps} H={self.units}"
        return ", ".join(part for part in (name, self.masks, self.model) if part)

    def arrays(self) -> dict[str, Any]:
        """Weights, inputs, output gradients, lengths and masks, the same ones each time."""
        rng = np.random.default_rng([self.units, self.batch, self.timesteps, GATES[self.kind]])
        gates, b, t, u = GATES[self.kind], self.batch, self.timesteps, self.units

        def normal(*shape: int) -> Array:
            return (rng.normal(size=shape) / np.sqrt(u)).astype(np.float32)

        found: Results = {}
        layers = ((0, u), (1, 2 * u)) if self.work == "bidirectional" else ((0, u),)
        for layer, features in layers:
            for direction in range(len(layers)):
                place, rows = f"{layer}{direction}", () if self.kind == "lstm" else (2,)
                found[f"kernel{place}"] = normal(features, gates * u)
                found[f"recurrent{place}"] = normal(u, gates * u)
                found[f"bias{place}"] = normal(*rows, gates * u)
        found["x"] = rng.normal(size=(b, t, u)).astype(np.float32)
        shortest, longest = (10, 100) if t <= 100 else (t // 10, t)
        found["lengths"] = rng.integers(shortest, longest + 1, b).clip(1, t)
        if self.work.endswith("training") or self.work == "dropout":
            found["dy"] = rng.normal(size=(b, u) if self.work == "ragged-training" else (b, t, u)).astype(np.float32)
        if self.masks:
            own = gates if self.masks == "per gate" else 1
            for name, rate in (("x_masks", DROPOUT), ("h_masks", RECURRENT_DROPOUT)):
                found[name] = ((rng.random((own, b, u)) >= rate) / (1 - rate)).astype(np.float32)
        return found

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Problem:
    """A cell and its arrays, as a worker reads them.

    Attributes
    ----------
    x : array of shape (batch, timesteps, units)
    dy : array of the shape of the outputs that are differentiated
    lengths : int array of shape (batch,)
    x_masks, h_masks : arrays of shape (gates or 1, batch, units)
    """

    def __init__(self, cell: Cell, path: Path):
        self.cell, self.path = cell, path
        with np.load(path) as file:
            self.arrays: Results = dict(file)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.arrays[name]
        except KeyError:
            raise AttributeError(name) from None

    def weights(self, layer: int = 0, direction: int = 0) -> Weights:
        kernel, recurrent, bias = (self.arrays[f"{n}{layer}{direction}"] for n in ("kernel", "recurrent", "bias"))
        return kernel, recurrent, bias

    def by_time(self, name: str) -> Array:
        """An array (batch, timesteps, ...) with the time first."""
        return np.ascontiguousarray(self.arrays[name].swapaxes(0, 1))

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which steps are within the lengths: (batch, timesteps)."""
        within: NDArray[np.bool_] = np.arange(self.cell.timesteps) < self.lengths[:, None]
        return within


@dataclass(frozen=True)
class Work:
    """What a peer can do for a problem: a call to time, and the results to check, in Keras' layouts, batch first.

    ``check`` runs first. Its arrays are called ``y`` (outputs), ``dx``, ``dkernel``, ``drecurrent`` and ``dbias``. Work
    with dropout is checked with the masks of the problem and timed with masks drawn in every call.
    """

    call: Callable[[], Any]
    check: Callable[[], Results]


def gradients(y: Array, dx: Array, dkernel: Array, drecurrent: Array, dbias: Array) -> Results:
    """The results of a training step."""
    return {"y": y, "dx": dx, "dkernel": dkernel, "drecurrent": drecurrent, "dbias": dbias}


def several_steps(call: Callable[[], Any], output: Callable[[Any], Array]) -> Work:
    """Work of a step that carries its state: checked after some steps."""

    def check() -> Results:
        y = None
        for _ in range(STEPS_TO_CHECK):
            y = call()
        return {"y": np.array(output(y))}

    return Work(call, check)
